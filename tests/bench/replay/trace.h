/* SPDX-License-Identifier: MIT */
#pragma once

#include "bytes.h"

/* A recording of a guest's demand: time_s, used_bytes (what it cannot give up) and cached_bytes (page cache
 * of a guest that never runs short). Further columns are ignored, so that what the monitor records will do.
 */

struct trace_row {
    uint64_t time; /* µs since the first row */
    uint64_t used;
    uint64_t cached;
};

struct trace {
    struct trace_row *rows;
    size_t n_rows;
};

/* Reads a CSV file. -EBADMSG, -ERANGE: *ret_error (g_free() it) names line and reason; else why it could not
 * be read. */
int trace_load(const char *path, struct trace *ret, char **ret_error);
int trace_parse(const char *name, const char *text, size_t len, struct trace *ret, char **ret_error);
void trace_clear(struct trace *t);

/* µs from the first row to the last. */
uint64_t trace_duration(const struct trace *t);

/* The demand at a time, linear between rows. *cursor is the caller's, 0 at first; time must not go back. */
void trace_at(const struct trace *t, size_t *cursor, uint64_t time, uint64_t *ret_used, uint64_t *ret_cached);
