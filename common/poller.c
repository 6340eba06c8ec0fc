/* SPDX-License-Identifier: MIT */
#include "poller.h"

#include <sys/epoll.h>

/* With timers and signals in between: a line takes some 10 us. */
#define BATCH_MAX 32

static struct poller {
    sd_event *event;
    sd_event_source *source;
    int epoll_fd;
    unsigned n_watches;
    struct epoll_event batch[BATCH_MAX];
    int n_batch; /* not served yet; 0: none is under way */
    bool busy;
} poller = { .epoll_fd = -EBADF };

static void close_poller(void)
{
    poller.source = sd_event_source_disable_unref(poller.source);
    poller.event = sd_event_unref(poller.event);
    closep(&poller.epoll_fd);
    poller.epoll_fd = -EBADF;
}

static int on_ready(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    int n = epoll_wait(fd, poller.batch, BATCH_MAX, 0);

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    poller.busy = true;
    poller.n_batch = n;
    for (int i = 0; i < n; i++) {
        struct poller_watch *w = poller.batch[i].data.ptr;

        poller.batch[i].data.ptr = NULL;
        /* An earlier one of the batch may have changed what is wanted. */
        if (w && (poller.batch[i].events & (w->events | EPOLLHUP | EPOLLERR)))
            w->ready(poller.batch[i].events & (w->events | EPOLLHUP | EPOLLERR), w->userdata);
    }
    poller.n_batch = 0;
    poller.busy = false;
    if (poller.n_watches == 0)
        close_poller();
    return 0;
}

static int open_poller(sd_event *event)
{
    int r;

    if (poller.event)
        return poller.event == event ? 0 : -EBUSY;
    poller.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (poller.epoll_fd < 0)
        return -errno;
    poller.event = sd_event_ref(event);
    r = sd_event_add_io(event, &poller.source, poller.epoll_fd, EPOLLIN, on_ready, NULL);
    if (r < 0)
        close_poller();
    return r;
}

static void forget(const struct poller_watch *w)
{
    for (int i = 0; i < poller.n_batch; i++)
        if (poller.batch[i].data.ptr == w)
            poller.batch[i].data.ptr = NULL;
}

int poller_set(struct poller_watch *w, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.ptr = w };
    int op = w->events == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;

    if (w->events == events)
        return 0;
    if (epoll_ctl(poller.epoll_fd, op, w->fd, &e) < 0)
        return -errno;
    w->events = events;
    if (events == 0)
        forget(w);
    return 0;
}

int poller_add(sd_event *event, struct poller_watch *w, uint32_t events)
{
    int r = open_poller(event);

    if (r < 0)
        return r;
    poller.n_watches++;
    w->events = 0;
    r = poller_set(w, events);
    if (r < 0)
        poller_remove(w);
    return r;
}

void poller_remove(struct poller_watch *w)
{
    (void)poller_set(w, 0);
    forget(w);
    if (--poller.n_watches == 0 && !poller.busy)
        close_poller();
}
