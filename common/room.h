/* SPDX-License-Identifier: MIT */
#pragma once

#include "bytes.h"
#include "zoneinfo.h"

/* How much memory can still be allocated before the OOM killer runs, pure. Monitor and actuator both use
 * these functions: when they disagreed, the guard held a burst at its line while the monitor saw memory
 * enough and asked for none. All sizes are bytes. */

/* Kernel zone memory for allocations that are charged to no cgroup and so cannot be throttled. */
#define ROOM_KERNEL_MIN MIB(32)
/* At most this many memory blocks stay plugged from boot, see room_standing_size(). */
#define ROOM_STANDING_BLOCKS_MAX 2u

/* What the cgroups may grow by together: room for user pages less the headroom, and never more than the
 * kernel zones have free, since page tables, pipes and socket buffers are charged to a cgroup as user pages
 * are. */
uint64_t room_to_grow(const struct zoneinfo *z, uint64_t headroom);

/* How much of the kernel zones is to be kept out of reach of user pages (N), with ahead = max - size, at most
 * 8 GiB - size or 4 GiB: 64 MiB + ahead / 64 + (boot + size + ahead) / 256, at most boot / 3. The second term
 * is the memmap of what may be plugged soon, the third page tables and the kernel's own growth. */
uint64_t room_kernel_reserve(uint64_t boot, uint64_t size, uint64_t max);

/* Whether the kernel has used half of its reserve: then a memory block is to come online in a kernel zone.
 * Page cache in these zones is given up for the kernel, but not in an instant: half of it counts. With
 * nothing in ZONE_MOVABLE no ratio keeps user pages out of a kernel zone either, so Movable gets blocks
 * first. */
bool room_kernel_is_low(const struct zoneinfo *z, uint64_t reserve);

/* vm.lowmem_reserve_ratio reserves a part of the memory in the zones above, so with nothing plugged it
 * reserves nothing: this size stays plugged, the reserve rounded up to memory blocks, at most two. 0 while
 * boot memory or the block size is unknown. */
uint64_t room_standing_size(uint64_t boot, uint64_t max, uint64_t memory_block);
