/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "macro.h"

/* Connects to a unix stream socket, and again when that fails or the connection is lost: after 250 ms, twice
 * as long each time, 2 s at most. */
struct dial;

/* Takes fd over (non-blocking, close-on-exec). */
typedef void (*dial_connected_t)(int fd, void *userdata);

/* what: for the log, "guest1: QEMU's monitor". Nothing happens before dial_start(). */
int dial_new(sd_event *event, const char *what, const char *path, dial_connected_t connected, void *userdata,
        struct dial **ret);
struct dial *dial_free(struct dial *d);

/* Connects as soon as the loop turns. */
int dial_start(struct dial *d);
/* The connection was lost: connects again after a while. */
void dial_again(struct dial *d);
/* Whether the last attempt found no socket, or no listener on it. A peer that hangs with a full queue is a
 * listener. */
bool dial_is_refused(const struct dial *d);
/* The peer has spoken: the next loss is followed by the shortest wait. */
void dial_succeeded(struct dial *d);
