/* SPDX-License-Identifier: MIT */
#include "vsock-door.h"

#include <glib.h>

#include "log.h"
#include "service.h"
#include "vsock.h"

/* A guest that does nothing but connect costs the others no more than these a turn. */
#define ACCEPT_MAX 16u

struct vsock_door {
    sd_event_source *io;
    int fd;
    vsock_door_enter_t enter;
    void *userdata;
    struct log_repeat log_port;
    struct log_repeat log_cid;
    struct log_repeat log_accept;
};

static void let_in(struct vsock_door *d, int fd, const struct vsock_address *from)
{
    if (from->port > VSOCK_PRIVILEGED_MAX) {
        log_repeated(&d->log_port, now_usec(), LOG_NOTICE,
                "vsock: CID %u came from port %u, which every program of that guest may: closed; root comes "
                "from 1 "
                "to %u",
                from->cid, from->port, VSOCK_PRIVILEGED_MAX);
        close(fd);
    } else if (d->enter(from->cid, fd, d->userdata) == -ENOENT)
        log_repeated(&d->log_cid, now_usec(), LOG_NOTICE, "vsock: no VM has CID= %u: closed", from->cid);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct vsock_door *d = userdata;

    for (unsigned i = 0; i < ACCEPT_MAX; i++) {
        struct vsock_address from;
        int r = vsock_accept(d->fd, &from);

        if (r >= 0)
            let_in(d, r, &from);
        else if (r != -EAGAIN)
            log_repeated(&d->log_accept, now_usec(), LOG_WARNING, "vsock: accept: %s", strerror(-r));
        if (r < 0)
            return 0;
    }
    return 0;
}

int vsock_door_new(
        sd_event *event, uint32_t port, vsock_door_enter_t enter, void *userdata, struct vsock_door **ret)
{
    struct vsock_door *d = g_new0(struct vsock_door, 1);
    int r;

    d->enter = enter;
    d->userdata = userdata;
    r = d->fd = vsock_listen(port);
    if (r >= 0)
        r = sd_event_add_io(event, &d->io, d->fd, EPOLLIN, on_io, d);
    if (r < 0) {
        vsock_door_free(d);
        return r;
    }
    *ret = d;
    return 0;
}

struct vsock_door *vsock_door_free(struct vsock_door *d)
{
    if (!d)
        return NULL;
    sd_event_source_disable_unref(d->io);
    closep(&d->fd);
    g_free(d);
    return NULL;
}
