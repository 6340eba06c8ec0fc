/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* /proc/zoneinfo, in bytes, summed over nodes. Kernel zones are DMA, DMA32 and Normal: what memmap, page
 * tables and every other GFP_KERNEL allocation must come from. ZONE_DEVICE is ignored. */
struct zoneinfo {
    uint64_t kernel_free;
    uint64_t kernel_low; /* sum of the low watermarks: below it kswapd runs */
    uint64_t kernel_min;
    uint64_t kernel_managed;
    uint64_t kernel_file;    /* page cache in them: nr_zone_active_file + nr_zone_inactive_file, optional */
    uint64_t kernel_room;    /* free above the min watermarks: what the kernel can still allocate */
    uint64_t kernel_reserve; /* lowmem_reserve: of the kernel zones, what user pages must leave free */
    uint64_t user_room;      /* free in all zones above their low watermarks and lowmem_reserve */
    uint64_t movable_free;
    uint64_t movable_managed;
};

/* page_size in bytes. "pages free", "min", "low", "managed" are required exactly once for each populated
 * zone, at least one kernel zone must be populated. Errors as meminfo_parse(). */
int zoneinfo_parse(const char *text, uint64_t page_size, struct zoneinfo *ret);
