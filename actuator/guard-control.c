/* SPDX-License-Identifier: MIT */
#include "guard-control.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/epoll.h>

#include "guard-saved.h"
#include "guard-worker.h"
#include "log.h"
#include "meminfo.h"
#include "procfile.h"
#include "service.h"

#define CALLER_MAX 63u
#define MEMINFO_SIZE (16 * 1024)

/* A hold of this length is always logged; while the host grants, none should last so long. */
#define LONG_HOLD_USEC USEC_PER_SEC

struct guard_control {
    sd_event_source *source;
    struct guard_worker *worker;
    int meminfo;
    char *excluded;
    struct guard_wish wish;
    char caller[CALLER_MAX + 1];
    struct limits limits; /* as last seen */

    struct guard_order ordered;
    struct guard_status status;
    struct log_repeat off_fault;
    struct log_repeat breach_log;
    struct log_repeat hold_log;
    guard_control_changed_t changed;
    void *userdata;
};

static void order(struct guard_control *g, bool again, bool moved)
{
    enum guard_off off = guard_switch(&g->wish, &g->limits);

    if (!again && off == g->ordered.off && !(moved && off == GUARD_ON))
        return;
    if (again)
        g->ordered.until = now_usec() + GUARD_CONTROL_FRESH_USEC;
    g->ordered.off = off;
    g->ordered.headroom = g->wish.headroom;
    g->ordered.moved = moved;
    g->ordered.size = g->limits.size;
    g->ordered.requested_size = g->limits.requested_size;
    guard_worker_order(g->worker, &g->ordered);
}

static void log_off(struct guard_control *g, const struct guard_status *s)
{
    bool was_on = g->status.off == GUARD_ON;

    if (s->off == GUARD_OFF_FAULT)
        log_repeated(&g->off_fault, now_usec(), LOG_ERR, "guard %s: %s: %s",
                was_on ? "disarmed" : "cannot be armed", s->where, strerror(-s->error));
    else if (s->off == GUARD_OFF_HIERARCHY || s->off == GUARD_OFF_NO_CGROUP)
        log_repeated(&g->off_fault, now_usec(), LOG_NOTICE, "guard stays off: %s", guard_off_text(s->off));
    else if (g->status.off == GUARD_OFF_FAULT && s->off == GUARD_OFF_ASKED)
        log_notice("guard: %s is the administrator's again", g->status.where);
    else if (was_on)
        log_info("guard disarmed: %s; memory.high is the administrator's again", guard_off_text(s->off));
}

static void log_on(struct guard_control *g, const struct guard_status *s)
{
    const struct guard_status *old = &g->status;

    if (old->off != GUARD_ON || s->n != old->n)
        log_info("guard armed: headroom %s (asked for %s), %zu cgroups use %s, lines at %s; free %s, "
                 "available %s",
                FORMAT_BYTES(s->headroom), FORMAT_BYTES(g->wish.headroom), s->n, FORMAT_BYTES(s->usage),
                FORMAT_BYTES(s->lines), FORMAT_BYTES(s->free), FORMAT_BYTES(s->available));
    if (s->breached && !old->breached)
        log_repeated(&g->breach_log, now_usec(), LOG_INFO,
                "guard: a line was reached (%s): cgroups use %s, lines at %s; free %s, available %s, "
                "headroom "
                "%s",
                guard_mode_to_string(s->mode), FORMAT_BYTES(s->usage), FORMAT_BYTES(s->lines),
                FORMAT_BYTES(s->free), FORMAT_BYTES(s->available), FORMAT_BYTES(s->headroom));
    if (!s->breached && old->breached && g->breach_log.suppressed == 0)
        log_info("guard: no line is reached any more, after %llu breaches", (unsigned long long)s->breaches);
}

static void log_holds(struct guard_control *g, const struct guard_status *s)
{
    const struct guard_status *old = &g->status;

    if (s->holds != old->holds && s->hold_usec >= LONG_HOLD_USEC)
        log_notice("guard: line of %s held for %llu ms", s->hold_name,
                (unsigned long long)(s->hold_usec / USEC_PER_MSEC));
    else if (s->holds != old->holds)
        log_repeated(&g->hold_log, now_usec(), LOG_INFO, "guard: line of %s held for %llu ms", s->hold_name,
                (unsigned long long)(s->hold_usec / USEC_PER_MSEC));
    if (s->lifted > old->lifted)
        log_notice("guard: lines of %zu cgroups lifted: they have waited for half of the time after which "
                   "systemd-oomd kills",
                s->lifted);
    if (s->left_out > 0 && old->left_out == 0)
        log_warning("guard: %zu top-level cgroups have no line; at most %u can have one", s->left_out,
                GUARD_CGROUPS_MAX);
}

static int on_status(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct guard_control *g = userdata;
    struct guard_status s;
    struct guard_status old = g->status;

    guard_worker_status(g->worker, &s);
    if (s.off == GUARD_ON)
        log_on(g, &s);
    else if (s.off != g->status.off || s.error != g->status.error)
        log_off(g, &s);
    log_holds(g, &s);
    g->status = s;
    if (s.headroom != old.headroom || s.held != old.held)
        g->changed(s.headroom, s.held, g->userdata);
    return 0;
}

static void restore(const struct guard_control_options *o)
{
    int r = guard_saved_restore(o->saved, o->cgroup);

    if (r < 0)
        log_error("guard: lines of an actuator before this one cannot be taken back by %s: %s", o->saved,
                strerror(-r));
    else if (r > 0)
        log_notice("guard: %d lines of an actuator before this one taken back", r);
}

int guard_control_new(sd_event *event, const struct guard_control_options *o, guard_control_changed_t changed,
        void *userdata, struct guard_control **ret)
{
    const struct guard_worker_options options = {
        .cgroup = o->cgroup,
        .procfs = o->procfs,
        .saved = o->saved,
    };
    struct guard_control *g = calloc(1, sizeof(*g));
    char path[PATH_MAX];
    int r;

    if (!g)
        return -ENOMEM;
    g->changed = changed;
    g->userdata = userdata;
    g->ordered.off = g->status.off = GUARD_OFF_ASKED;
    (void)snprintf(path, sizeof(path), "%s/meminfo", o->procfs);
    g->meminfo = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    restore(o);
    r = guard_worker_new(&options, &g->worker);
    if (r >= 0)
        r = sd_event_add_io(event, &g->source, guard_worker_fd(g->worker), EPOLLIN, on_status, g);
    if (r < 0) {
        guard_control_free(g);
        return r;
    }
    *ret = g;
    return 0;
}

struct guard_control *guard_control_free(struct guard_control *g)
{
    if (!g)
        return NULL;
    sd_event_source_disable_unref(g->source);
    guard_worker_free(g->worker);
    if (g->status.off == GUARD_ON)
        log_info("guard disarmed: %s; memory.high is the administrator's again",
                guard_off_text(GUARD_OFF_EXIT));
    closep(&g->meminfo);
    free(g->excluded);
    free(g);
    return NULL;
}

void guard_control_configure(struct guard_control *g, bool enabled, const char *excluded)
{
    if (!g->excluded || !streq(g->excluded, excluded)) {
        free(g->excluded);
        g->excluded = strdup(excluded);
        guard_worker_exclude(g->worker, excluded);
    }
    g->wish.enabled = enabled;
    order(g, false, false);
}

/* 0 when it cannot be told: the worker says so when it reads the same file. */
static uint64_t mem_total(const struct guard_control *g)
{
    char buf[MEMINFO_SIZE];
    struct meminfo m;
    size_t len;

    if (g->meminfo < 0 || procfile_read_fd(g->meminfo, buf, sizeof(buf), &len) < 0 ||
            meminfo_parse(buf, &m) < 0)
        return 0;
    return m.total;
}

int guard_control_arm(struct guard_control *g, uint64_t headroom, const char *caller, uint64_t *ret_total)
{
    uint64_t total = headroom > 0 ? mem_total(g) : 0;

    /* A larger one would hold every slice where it is. */
    if (headroom > total / 2 && total > 0) {
        *ret_total = total / 2;
        return -ERANGE;
    }
    g->wish.headroom = headroom;
    g->wish.caller_left = false;
    (void)snprintf(g->caller, sizeof(g->caller), "%s", caller);
    order(g, true, false);
    return 0;
}

void guard_control_caller_gone(struct guard_control *g, const char *name)
{
    bool gone = streq(name, ":") ? g->caller[0] == ':' : streq(name, g->caller);

    if (g->wish.headroom == 0 || !gone)
        return;
    g->wish.caller_left = true;
    order(g, false, false);
}

void guard_control_alive(struct guard_control *g)
{
    if (g->wish.headroom > 0 && !g->wish.caller_left)
        order(g, true, false);
}

void guard_control_refused(struct guard_control *g, bool refused)
{
    g->wish.refused = refused;
    order(g, false, false);
}

bool guard_control_may_hold(const struct guard_control *g)
{
    return guard_switch_may_hold(&g->wish, &g->limits);
}

void guard_control_update(struct guard_control *g, const struct limits *l)
{
    bool moved = l->size != g->limits.size || l->requested_size != g->limits.requested_size;

    g->limits = *l;
    order(g, false, moved);
}
