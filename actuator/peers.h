/* SPDX-License-Identifier: MIT */
#pragma once

#include <sys/types.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "macro.h"

/* The private socket: D-Bus without a bus daemon, for the monitor's user and root alone. */
struct peers;

#define PEERS_MAX 4u

struct peers_ops {
    int (*added)(sd_bus *bus, void *userdata); /* put the vtable on it */
    void (*gone)(sd_bus *bus, void *userdata);
};

/* uid: the monitor's user; gid owns the socket (mode 0660). */
int peers_new(sd_event *event, const char *path, uid_t uid, gid_t gid, const struct peers_ops *ops,
        void *userdata, struct peers **ret);
struct peers *peers_free(struct peers *p);

/* The uid at the other end of one of our connections; -ENOENT: it is none of ours. */
int peers_uid(const struct peers *p, const sd_bus *bus, uid_t *ret);
/* Calls fn for each connection. */
void peers_each(const struct peers *p, void (*fn)(sd_bus *bus, void *userdata), void *userdata);
