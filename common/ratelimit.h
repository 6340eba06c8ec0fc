/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* Token bucket, pure; times in µs of a clock that does not go back (a step back counts as no time). */
struct bucket {
    uint32_t rate;  /* tokens a second */
    uint32_t burst; /* most tokens at once; the bucket starts full */
    uint64_t micro; /* tokens x 10^6 now in it */
    uint64_t last;
};

void bucket_init(struct bucket *b, uint32_t rate, uint32_t burst, uint64_t now);
/* True, and one token fewer, when there is one. */
bool bucket_take(struct bucket *b, uint64_t now);
/* µs until bucket_take() could succeed; 0: now. */
uint64_t bucket_wait(const struct bucket *b, uint64_t now);

/* Counts faults in a window: fault_window_add() is true when this one is more than max since the window
 * began. */
struct fault_window {
    uint64_t begin;
    uint32_t count;
};
bool fault_window_add(struct fault_window *w, uint32_t max, uint64_t window_usec, uint64_t now);
/* Counts n faults at once, such as the bytes of a read. */
bool fault_window_add_many(
        struct fault_window *w, uint32_t n, uint32_t max, uint64_t window_usec, uint64_t now);
