/* SPDX-License-Identifier: MIT */
#pragma once

#include "bytes.h"

/* A recording of a guest's demand: time_s, used_bytes (memory that it cannot free) and cached_bytes (page
 * cache of a guest that is never short of memory). Other columns are ignored, so that the monitor's
 * recordings can be read. */

struct trace_row {
    uint64_t time; /* µs since the first row */
    uint64_t used;
    uint64_t cached;
};

struct trace {
    struct trace_row *rows;
    size_t n_rows;
};

/* Reads a CSV file. On failure *ret_error, which the caller frees with g_free(), has the reason; for -EBADMSG
 * and -ERANGE it names the line. */
int trace_load(const char *path, struct trace *ret, char **ret_error);
int trace_parse(const char *name, const char *text, size_t len, struct trace *ret, char **ret_error);
void trace_clear(struct trace *t);

/* Returns the µs from the first row to the last. */
uint64_t trace_duration(const struct trace *t);

/* Returns the demand at a time, linear between rows. The caller keeps *cursor, which starts at 0; time must
 * not go back. */
void trace_at(const struct trace *t, size_t *cursor, uint64_t time, uint64_t *ret_used, uint64_t *ret_cached);
