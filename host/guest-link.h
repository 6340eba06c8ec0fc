/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "channel.h"

/* The channel to one guest: connects, cuts lines, decodes, and keeps a guest that talks nonsense, talks too
 * much or does not read from costing the others anything. */
struct guest_link;

struct guest_link_ops {
    void (*up)(struct guest_link *l, void *userdata);
    void (*down)(struct guest_link *l, void *userdata);
    /* A message that a guest may send. */
    void (*message)(struct guest_link *l, const struct channel_message *m, void *userdata);
    /* A line that is none. */
    void (*noise)(struct guest_link *l, void *userdata);
};

/* name: the VM's, for the log. path: of the socket that is dialled; NULL: the guest comes,
 * guest_link_accept(). */
int guest_link_new(sd_event *event, const char *name, const char *path, const struct guest_link_ops *ops,
        void *userdata, struct guest_link **ret);
struct guest_link *guest_link_free(struct guest_link *l);

/* The guest has connected. Takes fd over, but not on failure; whom there was before is left. -EBUSY: it is
 * not listened to, or comes too often. */
int guest_link_accept(struct guest_link *l, int fd);

/* Where we connect, not the guest: ends the connection, if there is one, and makes it anew. */
void guest_link_reconnect(struct guest_link *l);

/* Lost when nobody is there; ends the connection when the guest does not read. */
void guest_link_send(struct guest_link *l, const struct channel_message *m);
