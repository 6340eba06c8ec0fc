/* SPDX-License-Identifier: MIT */
#include "service.h"

#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "log.h"

uint64_t now_usec(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}

uint64_t realtime_usec(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}

static service_reload_t on_reload;

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
    _cleanup_free_ char *error = NULL;

    (void)sd_notifyf(false, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)now_usec());
    if (on_reload(userdata, &error) == 0) {
        log_info("configuration loaded again");
        (void)sd_notify(false, "READY=1\nSTATUS=");
    } else {
        log_error("%s; the configuration in force stays", error ?: "the configuration cannot be read");
        (void)sd_notifyf(false, "READY=1\nSTATUS=Configuration refused, the one before is in force: %s",
                error ?: "it cannot be read");
    }
    return 0;
}

int service_event_new(service_reload_t reload, void *userdata, sd_event **ret)
{
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;
    sigset_t set;
    int r = sd_event_default(&event);

    if (r < 0)
        return r;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
    if (r >= 0)
        r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
    if (r >= 0 && reload) {
        on_reload = reload;
        r = sd_event_add_signal(event, NULL, SIGHUP, on_hangup, userdata);
    }
    if (r >= 0)
        r = sd_event_set_watchdog(event, true);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(event);
    return 0;
}

/* glibc takes a large block that was freed for a sign that more will come, and keeps the next one. What
 * others send is not to stay here, least of all locked. */
#define MMAP_THRESHOLD (128 * 1024)

void service_lock_memory(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
        log_warning("memory is not locked: %s; a larger LimitMEMLOCK= or CAP_IPC_LOCK lets it be",
                strerror(errno));
}

int service_run(sd_event *event)
{
    int r;

    (void)sd_notify(false, "READY=1");
    r = sd_event_loop(event);
    (void)sd_notify(false, "STOPPING=1");
    if (r < 0)
        log_error("event loop: %s", strerror(-r));
    return r < 0 ? EXIT_FAILURE : r;
}
