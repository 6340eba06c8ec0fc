/* SPDX-License-Identifier: MIT */
#pragma once

#include "bytes.h"

/* Which kernel settings the actuator wants, pure. All sizes are bytes.
 *
 * vm.lowmem_reserve_ratio has one number for each zone, in the order of /proc/zoneinfo. On each node the
 * kernel keeps (managed memory of the zones above, up to Movable) / ratio of a zone free of user pages; 0
 * turns this off for the zone. */

/* The kernel knows at most DMA, DMA32, Normal, HighMem, Movable and Device. */
#define KERNEL_ZONES_MAX 8u

struct kernel_zone {
    bool kernel;  /* DMA, DMA32 or Normal: GFP_KERNEL allocations can use it */
    bool movable; /* Movable */
    /* Summed over nodes; what is above counts only on nodes on which the zone itself has memory. */
    uint64_t managed;
    uint64_t kernel_above;
    uint64_t movable_above;
};

struct kernel_zones {
    size_t n;
    struct kernel_zone zones[KERNEL_ZONES_MAX];
};

/* Reads the zones out of the text of /proc/zoneinfo. -EBADMSG: no zone, a zone without "managed", too many
 * zones, or nodes that differ; -ERANGE: a number is too large. */
int kernel_zones_parse(const char *text, uint64_t page_size, struct kernel_zones *ret);

/* What user pages must leave free in the kernel zones under these ratios, one for each zone. */
uint64_t kernel_plan_reserve(const struct kernel_zones *z, const uint32_t *ratios);

/* Computes the ratios that keep about wanted bytes of the kernel zones out of reach of user pages. They are
 * the administrator's, or lower (stronger), and never 0 where his are not. */
void kernel_plan_ratios(
        const struct kernel_zones *z, uint64_t wanted, const uint32_t *admin, uint32_t *ret_ratios);

/* Each write of the ratios makes the kernel recalculate its watermarks, and MemAvailable moves: a difference
 * of an eighth of the present reserve or less is not worth a write. */
bool kernel_plan_differs(uint64_t present, uint64_t planned);

/* With vm.overcommit_memory=0 the kernel refuses one allocation above MemTotal and swap, although the VM
 * could grow for it. 1 is wanted only in place of 0: 1 and 2 are the administrator's choice. */
uint32_t kernel_plan_overcommit(bool host, uint64_t size, uint64_t max, uint32_t admin);
