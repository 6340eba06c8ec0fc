/* SPDX-License-Identifier: MIT */
#include "device.h"

#include "bytes.h"

uint64_t devices_size(const struct device_numbers *d, unsigned n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += d[i].size;
    return sum;
}

uint64_t devices_requested(const struct device_numbers *d, unsigned n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += d[i].requested_size;
    return sum;
}

uint64_t devices_block(const struct device_numbers *d, unsigned n)
{
    uint64_t block = d[0].block_size;

    for (unsigned i = 1; i < n; i++)
        block = MAX_OF(block, d[i].block_size);
    return block;
}

uint64_t devices_max(const struct device_numbers *d, unsigned n)
{
    uint64_t block = devices_block(d, n), sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += bytes_round_down(d[i].max_size, block);
    return sum;
}

/* Raises target towards limit, by what is missing at most. Returns what is missing then. */
static uint64_t raise(uint64_t *target, uint64_t limit, uint64_t missing)
{
    uint64_t step = MIN_OF(sub_floor(limit, *target), missing);

    *target += step;
    return missing - step;
}

void devices_plan(const struct device_numbers *d, unsigned n, uint64_t total, uint64_t ret_targets[])
{
    uint64_t block = devices_block(d, n), present = devices_requested(d, n);
    uint64_t missing = sub_floor(total, present), surplus = sub_floor(present, total);

    for (unsigned i = 0; i < n; i++)
        ret_targets[i] = d[i].requested_size;
    for (unsigned i = 0; i < n; i++)
        missing = raise(&ret_targets[i], d[i].size, missing);
    for (unsigned i = 0; i < n; i++)
        missing = raise(&ret_targets[i], bytes_round_down(d[i].max_size, block), missing);
    for (unsigned i = n; i-- > 0;) {
        uint64_t step = MIN_OF(ret_targets[i], surplus);

        ret_targets[i] -= step;
        surplus -= step;
    }
}
