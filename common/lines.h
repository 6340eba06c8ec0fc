/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* Cuts a byte stream into lines, pure: a buffer in, lines out. */
struct lines {
    char *buf; /* capacity bytes, the caller's */
    size_t capacity;
    size_t len;
    bool skipping; /* in the middle of a line that was too long (or the first, half, one after a reconnect) */
    size_t skipped;
};

/* A line that does not end is a fault again after so many bytes: who sends them for ever can be cut off. */
#define LINES_SKIP_MAX (256UL * 1024)

/* Longest line is capacity - 1 bytes without its newline. */
void lines_init(struct lines *l, char *buf, size_t capacity);

/* Forgets what was begun. With resync the next line is dropped up to its newline. */
void lines_reset(struct lines *l, bool resync);

/* Takes from *data until a line is complete or nothing is left; *data and *n move on. Returns 1 with a line
 * (NUL-terminated, without newline, valid until the next call; it may hold NULs of the peer: use *ret_len), 0
 * when all was taken and no line is complete, -EMSGSIZE when a line that was too long has been dropped (once
 * a line, and again for every LINES_SKIP_MAX bytes of it). */
int lines_next(struct lines *l, const char **data, size_t *n, const char **ret_line, size_t *ret_len);
