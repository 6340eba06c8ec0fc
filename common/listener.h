/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "log.h"

/* A listening socket in an event loop that does not spin: without free descriptors accept() fails and whoever
 * waits goes on waiting, so that the loop would turn without end. */
struct listener;

/* So long after an accept() that failed. */
#define LISTENER_PAUSE_USEC (250 * USEC_PER_MSEC)

/* Somebody waits: call accept(), on failure listener_failed(). */
typedef void (*listener_ready_t)(struct listener *l, int fd, void *userdata);

/* Takes fd over (also on failure). name: for the log, static. */
int listener_new(sd_event *event, int fd, const char *name, listener_ready_t ready, void *userdata,
        struct listener **ret);
struct listener *listener_free(struct listener *l);

/* What accept() said, a negative errno. Nobody there, or one that has gone again, is no failure; any other is
 * said once and pauses. */
void listener_failed(struct listener *l, int error);
/* ready() is not called for so long; who comes meanwhile waits in the kernel, as many as listen() was told.
 */
void listener_pause(struct listener *l, uint64_t usec);
