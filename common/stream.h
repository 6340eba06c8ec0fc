/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>
#include "lines.h"

/* A non-blocking fd in an event loop that speaks in lines, with a bounded output queue. */
struct stream;

struct stream_ops {
    /* Called for each read of n bytes (at most 64 KiB), before line(). Pausing or freeing the stream from
     * inside drops these bytes. Optional; limits a peer that sends no complete line. */
    void (*received)(struct stream *s, size_t n, void *userdata);
    /* len bytes, NUL-terminated, without newline. The stream may be freed from inside (the rest of the input
     * is then dropped). */
    void (*line)(struct stream *s, const char *line, size_t len, void *userdata);
    /* A line too long was dropped. Optional. */
    void (*oversize)(struct stream *s, void *userdata);
    /* End of file, hang-up or error (negative errno; 0 = orderly end). Called once; no more reads after it;
     * the owner frees the stream, also from inside. */
    void (*closed)(struct stream *s, int error, void *userdata);
};

/* Takes fd over (also on failure). line_max: longest line with newline. out_max: most bytes waiting to be
 * written. At most 64 KiB are read at a time, so that one peer cannot hold the loop. */
int stream_new(sd_event *event, int fd, size_t line_max, size_t out_max, const struct stream_ops *ops,
        void *userdata, struct stream **ret);
struct stream *stream_free(struct stream *s);

/* Queues and tries to write at once. -ENOBUFS: the peer does not read and the queue is full (nothing of it
 * was queued: cut the peer off). -ENOTCONN after closed(). */
int stream_send(struct stream *s, const char *data, size_t n);

/* Stop and go on reading (a peer that is cut off for a time). */
int stream_pause(struct stream *s, bool paused);
