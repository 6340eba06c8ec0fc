/* SPDX-License-Identifier: MIT */
/* Models the zones that memory is in, and the room that remains. */
#include "model.h"
#include "room.h"

/* Boot memory outside of MemTotal (kernel image, firmware): with 1 GiB of it MemTotal is 960 MiB. */
#define BOOT_COST MIB(48)
#define MEMMAP_SHARE 64u
/* The watermarks are about 64 MiB of 16 GiB. */
#define LOW_SHARE 256u
#define MIN_FIFTHS 4u
/* The disk reads 200 MiB/s. */
#define READ_RATE MIB(200)
/* The part of page cache that is read repeatedly; an assumption, since a recording does not contain it. It is
 * limited, since the pages of a stream are hardly read again. */
#define HOT_PART 4u
#define HOT_MAX MIB(256)
/* The part of the time in which reclaim of page cache stalls a task. */
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

/* Memory that user pages cannot use: the kernel's own memory and the memmap of plugged memory. */
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

/* The most user memory that the kernel zones take. */
static uint64_t kernel_limit(const struct model *m)
{
    return sub_floor(kernel_total(m), kernel_own(m) + kernel_low(m) + m->reserve);
}

/* Three quarters of all memory are Movable at most: plugged memory above that goes to the kernel zones.
 * lowmem_reserve_ratio reserves at most as much as is plugged as Movable. */
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

/* Page cache grows into free memory at the disk's rate, and shrinks at once. */
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

/* Page cache has the same share of both zones as other user memory. */
static uint64_t kernel_file(const struct model *m)
{
    return MIN_OF(part_of(m->kernel_user, m->cache, m->movable_user + m->kernel_user), m->kernel_user);
}

/* Growth of the kernel's own memory evicts page cache from its zones, but not anonymous memory, which stays
 * without swap; kernel memory that does not fit beside it is short. A guest with a balloon has no Movable
 * zone, so that the kernel can use all of its memory. */
static void make_kernel_room(struct model *m)
{
    uint64_t own = kernel_own(m) + (m->options.ballooned ? 0 : kernel_min(m));
    uint64_t most = sub_floor(kernel_total(m), own);
    uint64_t movable = m->options.ballooned ? m->kernel_user : kernel_file(m);

    m->kernel_user -= MIN_OF(movable, sub_floor(m->kernel_user, most));
    m->short_bytes = sub_floor(m->kernel_user, most) + sub_floor(own, kernel_total(m));
}

/* User memory fills Movable first and stays in its zone; both zones free it in proportion. An unplug moves
 * pages to a zone that has room. */
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

/* The most user memory that fits. Memory stays in its zone when a limit falls below it. */
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

/* User memory filled boot memory before the first plug, and its pages have stayed there. */
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
