/* SPDX-License-Identifier: MIT */
/* Which zone memory is in, and what that leaves. */
#include "model.h"
#include "room.h"

/* Kernel image, firmware and the like: a guest of 1 GiB has a MemTotal of 960 MiB. */
#define BOOT_COST MIB(48)
#define MEMMAP_SHARE 64u
/* Watermarks: of 16 GiB some 64 MiB. */
#define LOW_SHARE 256u
#define MIN_FIFTHS 4u
/* A disk that reads 200 MiB/s. */
#define READ_RATE MIB(200)
/* Of page cache, what is read again and again: a recording does not say. Of a stream, little. */
#define HOT_PART 4u
#define HOT_MAX MIB(256)
/* Part of the time during which reclaim of page cache stalls a task. */
#define EVICT_STALL_PART 50u
#define THRASH_STALL_PART 5u

static uint64_t part_of(uint64_t bytes, uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (uint64_t)((unsigned __int128)bytes * part / whole);
}

static uint64_t kernel_used(const struct model *m)
{
    return m->used / 100 * m->options.kernel_part;
}

/* Memory that no page of a user may take: what the kernel uses itself, and the memmap of plugged memory. */
static uint64_t kernel_own(const struct model *m)
{
    return kernel_used(m) + m->memmap;
}

static uint64_t kernel_total(const struct model *m)
{
    return m->total - m->movable_managed;
}

/* Each zone keeps its share of the watermarks free of user memory. */
static uint64_t kernel_low(const struct model *m)
{
    return part_of(m->low, kernel_total(m), m->total);
}

static uint64_t kernel_min(const struct model *m)
{
    return kernel_low(m) / 5 * MIN_FIFTHS;
}

static uint64_t movable_limit(const struct model *m)
{
    return sub_floor(m->movable_managed, m->low - kernel_low(m));
}

/* User pages enter the kernel zones up to this. */
static uint64_t kernel_limit(const struct model *m)
{
    return sub_floor(kernel_total(m), kernel_own(m) + kernel_low(m) + m->reserve);
}

/* Three parts movable for one of the kernel's: kernel zones get what that asks for beyond boot memory. What
 * lowmem_reserve_ratio reserves is at most what is plugged as Movable. */
void model_follow_size(struct model *m)
{
    const struct model_options *o = &m->options;

    m->total = sub_floor(o->boot, o->boot / MEMMAP_SHARE + BOOT_COST) + m->size;
    m->memmap = m->size / MEMMAP_SHARE;
    m->low = m->total / LOW_SHARE;
    m->kernel_blocks = MIN_OF(m->kernel_blocks, m->size);
    m->movable_managed = MIN_OF(m->size - m->kernel_blocks, (o->boot + m->size) / 4 * 3);
    m->reserve = o->reserves ? MIN_OF(room_kernel_reserve(o->boot, m->size, o->max), m->movable_managed) : 0;
}

static uint64_t hot_bytes(const struct model *m)
{
    return MIN_OF(m->cached / HOT_PART, HOT_MAX);
}

uint64_t model_cold_cache(const struct model *m)
{
    return sub_floor(m->cache, hot_bytes(m));
}

/* Page cache fills what is free as fast as a disk reads, and makes room at once. */
static void move_cache(struct model *m, uint64_t usec, uint64_t room)
{
    uint64_t hot = hot_bytes(m), wanted,
             read = (uint64_t)((unsigned __int128)READ_RATE * usec / USEC_PER_SEC);

    m->gone = MIN_OF(m->gone, m->cached - hot);
    wanted = m->cached - m->gone;
    m->cache = MIN_OF(m->cache, wanted);
    if (m->cache > room) {
        m->cache = room;
        m->stall += usec / EVICT_STALL_PART;
    } else
        m->cache = MIN_OF(m->cache + read, MIN_OF(wanted, room));
    if (room < hot) {
        m->refaults += MIN_OF(read, hot - room);
        m->stall += usec / THRASH_STALL_PART;
    }
    if (m->squeezing > 0 && m->now >= m->squeezed_time) {
        uint64_t cold = MIN_OF(m->squeezing, sub_floor(m->cache, hot));

        m->cache -= cold;
        m->gone += cold;
        m->squeezing = 0;
    }
}

/* Page cache lies in both zones as other user memory does. */
static uint64_t kernel_file(const struct model *m)
{
    return MIN_OF(part_of(m->kernel_user, m->cache, m->movable_user + m->kernel_user), m->kernel_user);
}

/* The kernel's own growth takes page cache out of its zones, but no anonymous memory: without swap that stays
 * where it is, and what does not fit beside it is short. A balloon's guest has no Movable zone: all of its
 * memory is the kernel's too. */
static void make_kernel_room(struct model *m)
{
    uint64_t own = kernel_own(m) + (m->options.ballooned ? 0 : kernel_min(m));
    uint64_t most = sub_floor(kernel_total(m), own);
    uint64_t movable = m->options.ballooned ? m->kernel_user : kernel_file(m);

    m->kernel_user -= MIN_OF(movable, sub_floor(m->kernel_user, most));
    m->short_bytes = sub_floor(m->kernel_user, most) + sub_floor(own, kernel_total(m));
}

/* User memory goes to Movable first and stays where it is; what is freed is freed evenly. An unplug moves
 * what it meets to where there is room. */
static void move_user(struct model *m, uint64_t user)
{
    uint64_t before = m->movable_user + m->kernel_user, more;

    if (user < before) {
        m->movable_user = part_of(m->movable_user, user, before);
        m->kernel_user = user - m->movable_user;
    }
    m->movable_user = MIN_OF(m->movable_user, m->movable_managed);
    more = sub_floor(user, m->movable_user + m->kernel_user);
    before = MIN_OF(more, sub_floor(movable_limit(m), m->movable_user));
    m->movable_user += before;
    m->kernel_user += more - before;
}

/* The most that user memory can be. Memory stays where it is when a limit falls below it. */
static uint64_t user_room(const struct model *m)
{
    return MAX_OF(movable_limit(m), MIN_OF(m->movable_user, m->movable_managed)) +
           MAX_OF(kernel_limit(m), m->kernel_user);
}

static uint64_t anonymous(const struct model *m)
{
    return m->used - kernel_used(m);
}

void model_place(struct model *m, uint64_t usec)
{
    uint64_t room;

    make_kernel_room(m);
    room = user_room(m);
    m->short_bytes = MAX_OF(m->short_bytes, sub_floor(anonymous(m), room));
    move_cache(m, usec, sub_floor(room, anonymous(m)));
    move_user(m, MIN_OF(anonymous(m) + m->cache, room));
    if (m->short_bytes > 0)
        m->stall += usec;
}

/* Boot memory was filled before anything was plugged, and its pages have stayed there. */
void model_fill(struct model *m)
{
    uint64_t user;

    m->cache = MIN_OF(m->cached, sub_floor(user_room(m), anonymous(m)));
    user = MIN_OF(anonymous(m) + m->cache, user_room(m));
    m->kernel_user = MIN_OF(user, kernel_limit(m));
    m->movable_user = user - m->kernel_user;
}

uint64_t model_free(const struct model *m)
{
    return sub_floor(m->total, m->used + m->memmap + m->cache);
}

uint64_t model_available(const struct model *m)
{
    return sub_floor(m->total, m->used + m->memmap + m->low + m->reserve);
}

uint64_t model_active_file(const struct model *m)
{
    return MIN_OF(m->cache, hot_bytes(m));
}

void model_zones(const struct model *m, struct zoneinfo *ret)
{
    struct zoneinfo z = {
        .kernel_free = sub_floor(kernel_total(m), kernel_own(m) + m->kernel_user),
        .kernel_low = kernel_low(m),
        .kernel_min = kernel_min(m),
        .kernel_managed = kernel_total(m),
        .kernel_file = kernel_file(m),
        .kernel_reserve = m->reserve,
        .movable_free = sub_floor(m->movable_managed, m->movable_user),
        .movable_managed = m->movable_managed,
    };

    z.kernel_room = sub_floor(z.kernel_free, z.kernel_min);
    z.user_room = sub_floor(z.kernel_free, z.kernel_low + z.kernel_reserve) +
                  sub_floor(movable_limit(m), m->movable_user);
    *ret = z;
}
