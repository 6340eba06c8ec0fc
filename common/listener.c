/* SPDX-License-Identifier: MIT */
#include "listener.h"

#include <sys/epoll.h>

#include "service.h"

#define ACCURACY_USEC USEC_PER_MSEC

struct listener {
    sd_event_source *io;
    sd_event_source *timer;
    int fd;
    const char *name;
    listener_ready_t ready;
    void *userdata;
    struct log_repeat fault;
};

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct listener *l = userdata;

    l->ready(l, fd, l->userdata);
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct listener *l = userdata;

    (void)sd_event_source_set_enabled(l->io, SD_EVENT_ON);
    return 0;
}

void listener_pause(struct listener *l, uint64_t usec)
{
    if (sd_event_source_set_time(l->timer, now_usec() + usec) < 0 ||
            sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT) < 0)
        return;
    (void)sd_event_source_set_enabled(l->io, SD_EVENT_OFF);
}

void listener_failed(struct listener *l, int error)
{
    if (error == -EAGAIN || error == -EINTR || error == -ECONNABORTED)
        return;
    log_repeated(&l->fault, now_usec(), LOG_WARNING,
            "%s: cannot take a connection: %s; trying again every %u ms", l->name, strerror(-error),
            (unsigned)(LISTENER_PAUSE_USEC / USEC_PER_MSEC));
    listener_pause(l, LISTENER_PAUSE_USEC);
}

int listener_new(sd_event *event, int fd, const char *name, listener_ready_t ready, void *userdata,
        struct listener **ret)
{
    _cleanup_close_ int owned = fd;
    struct listener *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->fd = TAKE_FD(owned);
    l->name = name;
    l->ready = ready;
    l->userdata = userdata;
    r = sd_event_add_io(event, &l->io, l->fd, EPOLLIN, on_io, l);
    if (r >= 0)
        r = sd_event_add_time(event, &l->timer, CLOCK_MONOTONIC, 0, ACCURACY_USEC, on_timer, l);
    if (r >= 0)
        r = sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
    if (r < 0) {
        listener_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

struct listener *listener_free(struct listener *l)
{
    if (!l)
        return NULL;
    sd_event_source_disable_unref(l->io);
    sd_event_source_disable_unref(l->timer);
    closep(&l->fd);
    free(l);
    return NULL;
}
