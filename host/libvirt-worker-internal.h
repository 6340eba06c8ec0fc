/* SPDX-License-Identifier: MIT */
#pragma once

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdatomic.h>

#include "libvirt-worker.h"

/* Between the files that speak to libvirt: queues and threads (libvirt-worker.c), the connection and what it
 * tells by itself (libvirt-connection.c), commands (libvirt-call.c). */

#define LIBVIRT_EVENTS_MAX 8u

/* A process has one event loop of libvirt's, and it has to turn beside the calls: it serves the keepalives
 * that end a call that is not answered. Shared by all threads and the loop, and freed by the last. */
struct libvirt_worker {
    atomic_int refs;
    atomic_uint callers; /* threads that make calls */
    atomic_bool leaving;
    atomic_bool closed; /* the connection: gone, or to be given up */
    char *uri;
    int fd;

    pthread_mutex_t lock; /* of all that follows up to the callbacks */
    pthread_cond_t changed;
    GQueue work;      /* of struct libvirt_work */
    GHashTable *busy; /* domains that a call is made for, so that each has one at a time, in their order */
    GQueue news;      /* of struct libvirt_news */
    bool flooded;     /* nothing is told any more until the connection is opened anew */
    virConnectPtr
            calls[LIBVIRT_CALLS]; /* of each thread that makes calls; NULL: not open. It holds its own */

    int callbacks[LIBVIRT_EVENTS_MAX]; /* ids of libvirt's; -1: none. Each holds the connection */
};

/* libvirt-worker.c */
/* Takes n over. */
void libvirt_tell(struct libvirt_worker *w, struct libvirt_news n);
/* What the domain is now is told when its turn comes, before its commands. */
void libvirt_look_at(struct libvirt_worker *w, const char *domain);
/* The connection is to be opened anew. */
void libvirt_give_up(struct libvirt_worker *w);
/* Of libvirt's last error in this thread. */
char *libvirt_last_error(void);

/* libvirt-connection.c */
/* One that tells, and those for calls, each its own: with libvirt 9.0 a call was seen to wait for another
 * thread's on the same connection, while virsh on its own took 0.08 s. What was opened is there after a
 * failure too, and to be closed. */
struct libvirt_connections {
    virConnectPtr telling;
    virConnectPtr calls[LIBVIRT_CALLS];
};
int libvirt_connections_open(struct libvirt_worker *w, struct libvirt_connections *ret);
void libvirt_connections_close(struct libvirt_worker *w, struct libvirt_connections *c);
/* Tells that it runs, and what it is; or that it is gone. */
void libvirt_describe(struct libvirt_worker *w, virDomainPtr domain, const char *name);

/* libvirt-call.c */
/* What QEMU would have answered. NULL: an error, *ret_text. domain NULL: there is none. */
json_t *libvirt_call(virDomainPtr domain, const struct libvirt_work *work, char **ret_text);
