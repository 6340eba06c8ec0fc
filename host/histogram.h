/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* How long grants took, from the request to QEMU's answer. Pure. */
#define HISTOGRAM_BUCKETS 14u

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS + 1]; /* each its own; the last: over all bounds */
    uint64_t sum;                           /* µs */
};

/* Upper bounds in µs, rising: 250 us is what a grant takes at best, 10 s when nobody waits any more. */
extern const uint64_t histogram_bounds[HISTOGRAM_BUCKETS];

void histogram_add(struct histogram *h, uint64_t usec);
