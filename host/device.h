/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* A VM has one virtio-mem device for each NUMA node; more than these cannot be configured. */
#define DEVICES_MAX 8u
/* A QEMU device id with its NUL. */
#define DEVICE_ID_MAX 64u

/* One virtio-mem device as QEMU tells it, in bytes. Whoever fills it has checked: block_size is a power of
 * two, the others are multiples of it, size and requested_size are at most max_size, and the sum of all
 * max_size fits INT64_MAX. */
struct device_numbers {
    uint64_t size;
    uint64_t requested_size;
    uint64_t max_size;
    uint64_t block_size;
};

uint64_t devices_size(const struct device_numbers *d, unsigned n);
uint64_t devices_requested(const struct device_numbers *d, unsigned n);

/* The largest block size: as all are powers of two, a multiple of each. n must not be 0. */
uint64_t devices_block(const struct device_numbers *d, unsigned n);

/* What all can hold together in steps of devices_block(). */
uint64_t devices_max(const struct device_numbers *d, unsigned n);

/* The requested size of each device for a total that is at most devices_max(). Growth first cancels shrinks
 * in flight, which costs the host nothing, then fills the devices in order; a shrink empties them in reverse
 * order. A total that is the present one changes nothing. */
void devices_plan(const struct device_numbers *d, unsigned n, uint64_t total, uint64_t ret_targets[]);
