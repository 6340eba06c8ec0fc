/* SPDX-License-Identifier: MIT */
#include "histogram.h"

const uint64_t histogram_bounds[HISTOGRAM_BUCKETS] = {
    250,
    500,
    1000,
    2500,
    5000,
    10000,
    25000,
    50000,
    100000,
    250000,
    500000,
    1000000,
    2500000,
    10000000,
};

void histogram_add(struct histogram *h, uint64_t usec)
{
    unsigned i = 0;

    while (i < HISTOGRAM_BUCKETS && usec > histogram_bounds[i])
        i++;
    h->counts[i]++;
    h->sum += usec;
}
