/* SPDX-License-Identifier: MIT */
#include "triggers.h"

#include <sys/epoll.h>

#include "log.h"

/* Windows from the best to the one that every kernel accepts: windows under 500 ms need Linux 6.5; without
 * the capability the kernel accepts only multiples of 2 s. The stall is a tenth of the window for the early
 * trigger and a fifth for the hard one. */
static const uint64_t windows[] = { 50 * USEC_PER_MSEC, 500 * USEC_PER_MSEC, 2 * USEC_PER_SEC };

static const char *const names[_TRIGGER_KIND_MAX] = {
    [TRIGGER_EARLY] = "early",
    [TRIGGER_HARD] = "hard",
};

static const uint64_t stall_parts[_TRIGGER_KIND_MAX] = {
    [TRIGGER_EARLY] = 10,
    [TRIGGER_HARD] = 5,
};

static int on_trigger_event(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct triggers *t = userdata;
    struct trigger *one =
            source == t->list[TRIGGER_EARLY].source ? &t->list[TRIGGER_EARLY] : &t->list[TRIGGER_HARD];

    if (revents & EPOLLERR) {
        log_warning("pressure trigger lost; deciding by sampling alone");
        one->source = sd_event_source_disable_unref(one->source);
        return 0;
    }
    one->fired = true;
    t->fired(t->userdata);
    return 0;
}

static void close_trigger(struct trigger *one)
{
    one->source = sd_event_source_disable_unref(one->source);
    closep(&one->fd);
    one->fd = -EBADF;
}

void triggers_init(struct triggers *t, sd_event *event, void (*fired)(void *userdata), void *userdata)
{
    *t = (struct triggers){ .event = sd_event_ref(event), .fired = fired, .userdata = userdata };
    for (enum trigger_kind kind = 0; kind < _TRIGGER_KIND_MAX; kind++)
        t->list[kind].fd = -EBADF;
}

void triggers_close(struct triggers *t)
{
    for (enum trigger_kind kind = 0; kind < _TRIGGER_KIND_MAX; kind++)
        close_trigger(&t->list[kind]);
}

void triggers_done(struct triggers *t)
{
    triggers_close(t);
    t->event = sd_event_unref(t->event);
}

void triggers_restart(struct triggers *t)
{
    for (enum trigger_kind kind = 0; kind < _TRIGGER_KIND_MAX; kind++)
        t->list[kind].attempt = 0;
}

bool triggers_wanted(
        const struct triggers *t, enum trigger_kind kind, uint64_t *ret_stall, uint64_t *ret_window)
{
    size_t attempt = t->list[kind].attempt;

    if (attempt >= ELEMENTSOF(windows)) {
        log_warning("no %s pressure trigger available; deciding by sampling alone", names[kind]);
        return false;
    }
    *ret_window = windows[attempt];
    *ret_stall = windows[attempt] / stall_parts[kind];
    return true;
}

bool triggers_take(struct triggers *t, enum trigger_kind kind, int fd)
{
    struct trigger *one = &t->list[kind];
    int r;

    if (fd < 0) {
        one->attempt++;
        return false;
    }
    close_trigger(one);
    one->fd = fd;
    r = sd_event_add_io(t->event, &one->source, fd, EPOLLPRI, on_trigger_event, t);
    if (r < 0) {
        log_warning("cannot watch the %s pressure trigger: %s", names[kind], strerror(-r));
        close_trigger(one);
    } else
        log_info("%s pressure trigger: window %u ms", names[kind],
                (unsigned)(windows[one->attempt] / USEC_PER_MSEC));
    return true;
}
