/* SPDX-License-Identifier: MIT */
#include "vsock-door.h"

#include <glib.h>

#include "listener.h"
#include "log.h"
#include "ratelimit.h"
#include "service.h"
#include "vsock.h"

/* A guest that does nothing but connect costs the others no more than these a turn. */
#define ACCEPT_MAX 16u
/* Nor more than these in a second. Each connection that is closed stays in the kernel until the guest's has
 * answered, 8 s when it does not, and all of one guest are in one list there, which is searched for each
 * packet under a lock: without a bound the list outgrows the search, and every packet of that guest waits
 * behind it. Whom the kernel turns away since nobody accepts him costs it next to nothing. */
#define REFUSALS_RATE 500u
#define REFUSALS_BURST 128u
#define REFUSALS_PAUSE_USEC (20 * USEC_PER_MSEC)

struct vsock_door {
    struct listener *listener;
    struct bucket refusals;
    vsock_door_enter_t enter;
    void *userdata;
    struct log_repeat log_port;
    struct log_repeat log_cid;
};

/* False: he is out again. */
static bool let_in(struct vsock_door *d, int fd, const struct vsock_address *from)
{
    _cleanup_close_ int owned = fd;
    int r;

    if (from->port > VSOCK_PRIVILEGED_MAX) {
        log_repeated(&d->log_port, now_usec(), LOG_NOTICE,
                "vsock: CID %u came from port %u, which every program of that guest may: closed; root comes "
                "from 1 to %u",
                from->cid, from->port, VSOCK_PRIVILEGED_MAX);
        return false;
    }
    r = d->enter(from->cid, owned, d->userdata);
    if (r == -ENOENT)
        log_repeated(&d->log_cid, now_usec(), LOG_NOTICE, "vsock: no VM has CID= %u: closed", from->cid);
    if (r >= 0)
        TAKE_FD(owned);
    return r >= 0;
}

static void on_ready(struct listener *listener, int fd, void *userdata)
{
    struct vsock_door *d = userdata;

    for (unsigned i = 0; i < ACCEPT_MAX; i++) {
        struct vsock_address from;
        int r = vsock_accept(fd, &from);

        if (r < 0) {
            listener_failed(listener, r);
            return;
        }
        if (let_in(d, r, &from))
            continue;
        (void)bucket_take(&d->refusals, now_usec());
        if (bucket_wait(&d->refusals, now_usec()) > 0) {
            listener_pause(listener, REFUSALS_PAUSE_USEC);
            return;
        }
    }
}

int vsock_door_new(
        sd_event *event, uint32_t port, vsock_door_enter_t enter, void *userdata, struct vsock_door **ret)
{
    struct vsock_door *d = g_new0(struct vsock_door, 1);
    int r;

    d->enter = enter;
    d->userdata = userdata;
    bucket_init(&d->refusals, REFUSALS_RATE, REFUSALS_BURST, now_usec());
    r = vsock_listen(port);
    if (r >= 0)
        r = listener_new(event, r, "vsock", on_ready, d, &d->listener);
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
    listener_free(d->listener);
    g_free(d);
    return NULL;
}
