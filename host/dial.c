/* SPDX-License-Identifier: MIT */
#include "dial.h"

#include <glib.h>

#include "log.h"
#include "service.h"
#include "unix-socket.h"

#define DELAY_MIN_USEC (250 * USEC_PER_MSEC)
#define DELAY_MAX_USEC (2 * USEC_PER_SEC)
#define ACCURACY_USEC (10 * USEC_PER_MSEC)

struct dial {
    char *what;
    char *path;
    dial_connected_t connected;
    void *userdata;
    sd_event_source *timer;
    uint64_t delay;
    int error; /* negative errno of the last attempt, 0: it succeeded */
    struct log_repeat failed;
};

static int arm(struct dial *d, uint64_t delay)
{
    int r = sd_event_source_set_time(d->timer, now_usec() + delay);

    return r < 0 ? r : sd_event_source_set_enabled(d->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct dial *d = userdata;
    int fd = unix_connect(d->path);

    d->error = MIN_OF(fd, 0);
    if (fd < 0) {
        log_repeated(&d->failed, now_usec(), LOG_NOTICE, "%s: cannot connect to %s: %s; trying again",
                d->what, d->path, strerror(-fd));
        dial_again(d);
        return 0;
    }
    d->connected(fd, d->userdata);
    return 0;
}

int dial_new(sd_event *event, const char *what, const char *path, dial_connected_t connected, void *userdata,
        struct dial **ret)
{
    struct dial *d = g_new0(struct dial, 1);
    int r;

    d->what = g_strdup(what);
    d->path = g_strdup(path);
    d->connected = connected;
    d->userdata = userdata;
    d->delay = DELAY_MIN_USEC;
    r = sd_event_add_time(event, &d->timer, CLOCK_MONOTONIC, 0, ACCURACY_USEC, on_timer, d);
    if (r >= 0)
        r = sd_event_source_set_enabled(d->timer, SD_EVENT_OFF);
    if (r < 0) {
        dial_free(d);
        return r;
    }
    *ret = d;
    return 0;
}

struct dial *dial_free(struct dial *d)
{
    if (!d)
        return NULL;
    sd_event_source_disable_unref(d->timer);
    g_free(d->what);
    g_free(d->path);
    g_free(d);
    return NULL;
}

int dial_start(struct dial *d)
{
    return arm(d, 0);
}

void dial_again(struct dial *d)
{
    int r = arm(d, d->delay);

    if (r < 0)
        log_error("%s: cannot arm a timer: %s", d->what, strerror(-r));
    d->delay = MIN_OF(d->delay * 2, DELAY_MAX_USEC);
}

bool dial_is_refused(const struct dial *d)
{
    return d->error == -ENOENT || d->error == -ECONNREFUSED;
}

void dial_succeeded(struct dial *d)
{
    d->delay = DELAY_MIN_USEC;
    log_repeat_end(&d->failed, LOG_INFO, "failed connections");
}
