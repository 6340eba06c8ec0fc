/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "channel.h"

/* The guest's end of the channel. Opens the port (as port_open()), says hello, keeps the line alive and opens
 * it again when the host has gone.
 */
struct host_link;

struct host_link_ops {
    void (*up)(const struct channel_message *welcome, void *userdata); /* also on every later welcome */
    void (*down)(void *userdata);
    void (*message)(const struct channel_message *m, void *userdata); /* the other ops of the host */
};

/* hello is copied and said on every connect. */
int host_link_new(sd_event *event, const char *port, const char *sysfs, const struct channel_message *hello,
        const struct host_link_ops *ops, void *userdata, struct host_link **ret);
struct host_link *host_link_free(struct host_link *l);

/* Never calls ops. -ENOTCONN when there is no host, -EINVAL when the message cannot be said, -ENOBUFS when
 * the host does not read (the line is given up then). */
int host_link_send(struct host_link *l, const struct channel_message *m);
/* Says hello again, so that both sides begin anew with the host's numbers: down, then up by its welcome. */
void host_link_renew(struct host_link *l, const char *why);
