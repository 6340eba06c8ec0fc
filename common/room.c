/* SPDX-License-Identifier: MIT */
#include "room.h"

#define RESERVE_BASE MIB(64)
#define MEMMAP_PART 64u
#define TABLES_PART 256u
#define BOOT_PART 3u
#define KERNEL_LOW_PART 2u
/* Keeping the memmap of a max size of 62 GiB ready takes 680 MiB of a guest for good, which raised the
 * footprint of recorded demand by a fifth. The actuator adds a block to a kernel zone when half of the
 * reserve is used, so the reserve only has to cover what can be plugged before that block is there: all of a
 * device of 8 GiB, with which bursts were measured, and beyond that the largest step of the monitor. */
#define AHEAD_SIZE GIB(8)
#define AHEAD_MIN GIB(4)

uint64_t room_to_grow(const struct zoneinfo *z, uint64_t headroom)
{
    return MIN_OF(sub_floor(z->user_room, headroom), sub_floor(z->kernel_room, ROOM_KERNEL_MIN));
}

uint64_t room_kernel_reserve(uint64_t boot, uint64_t size, uint64_t max)
{
    uint64_t ahead = MIN_OF(sub_floor(max, size), MAX_OF(sub_floor(AHEAD_SIZE, size), AHEAD_MIN));
    uint64_t reserve =
            RESERVE_BASE + ahead / MEMMAP_PART + boot / TABLES_PART + MIN_OF(max, size + ahead) / TABLES_PART;

    return MIN_OF(reserve, boot / BOOT_PART);
}

bool room_kernel_is_low(const struct zoneinfo *z, uint64_t reserve)
{
    return z->movable_managed > 0 && z->kernel_room + z->kernel_file / 2 < reserve / KERNEL_LOW_PART;
}

uint64_t room_standing_size(uint64_t boot, uint64_t max, uint64_t memory_block)
{
    uint64_t reserve = room_kernel_reserve(boot, 0, max), standing;

    if (memory_block == 0 || bytes_round_up(reserve, memory_block, &standing) < 0)
        return 0;
    return MIN_OF(standing, ROOM_STANDING_BLOCKS_MAX * memory_block);
}
