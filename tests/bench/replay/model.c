/* SPDX-License-Identifier: MIT */
#include "model.h"

/* Measured under QEMU: 5 ms of stall for each 128 MiB unplugged at most; 64 MB squeezed in a third of a
 * second; a disk that reads 200 MiB/s. */
#define UNPLUG_STALL_USEC (5 * USEC_PER_MSEC)
#define SQUEEZE_RATE MIB(200)
#define READ_RATE MIB(200)
/* The host asks a stuck driver again for this long before it ends the unplug. */
#define STUCK_USEC (30 * USEC_PER_SEC)
/* Kernel image, firmware and the like: a guest of 1 GiB has a MemTotal of 960 MiB. */
#define BOOT_COST MIB(48)
#define MEMMAP_SHARE 64u
/* Watermarks: of 16 GiB some 64 MiB. */
#define LOW_SHARE 256u
/* Of page cache, what is read again and again: a recording does not say. Of a stream, little. */
#define HOT_PART 4u
#define HOT_MAX MIB(256)
/* Part of the time that reclaim stalls somebody while page cache makes room. */
#define EVICT_STALL_PART 50u
#define THRASH_STALL_PART 5u

static uint64_t in_time(uint64_t rate, uint64_t usec)
{
    return (uint64_t)((unsigned __int128)rate * usec / USEC_PER_SEC);
}

static uint64_t boot_total(const struct model *m)
{
    return sub_floor(m->options.boot, m->options.boot / MEMMAP_SHARE + BOOT_COST);
}

void model_init(struct model *m, const struct model_options *o)
{
    *m = (struct model){ .options = *o, .random = UINT64_C(88172645463325252) };
}

/* xorshift64*: the same on every machine. */
static uint64_t next_random(struct model *m)
{
    m->random ^= m->random >> 12;
    m->random ^= m->random << 25;
    m->random ^= m->random >> 27;
    return m->random * UINT64_C(2685821657736338717) >> 32;
}

/* An unplug that gets stuck has met a page that cannot move in one of its memory blocks, any of them, and the
 * driver gives up there. */
static uint64_t stuck_at(struct model *m)
{
    uint64_t blocks = (m->size - m->requested) / MODEL_MEMORY_BLOCK;

    return m->size - next_random(m) % (blocks + 1) * MODEL_MEMORY_BLOCK;
}

void model_request(struct model *m, uint64_t size)
{
    m->asked = true;
    m->asked_size = bytes_round_down(MIN_OF(size, m->options.max), MODEL_BLOCK);
    /* Half of the time is the way to the host and back, the other half the guest's. */
    m->answer_time = m->now + m->options.plug_latency / 2;
}

static void take_answer(struct model *m)
{
    m->asked = false;
    m->requested = m->asked_size;
    m->unplug_begun = 0;
    if (m->requested > m->size && m->n_plugs < MODEL_PLUGS)
        m->plugs[m->n_plugs++] = (struct model_plug){
            .time = m->now + m->options.plug_latency - m->options.plug_latency / 2,
            .size = m->requested,
        };
    if (m->requested >= m->size)
        return;
    m->n_plugs = 0;
    m->unplug_begun = m->now;
    m->unplug_from = m->size;
    m->unplug_to = m->requested;
    if (next_random(m) % 100 < m->options.unplug_fail)
        m->unplug_to = stuck_at(m);
}

static void move_size(struct model *m)
{
    uint64_t old = m->size, gone;

    while (m->n_plugs > 0 && m->plugs[0].time <= m->now) {
        m->size = MAX_OF(m->size, m->plugs[0].size);
        memmove(m->plugs, m->plugs + 1, --m->n_plugs * sizeof(m->plugs[0]));
    }
    if (m->unplug_begun == 0)
        return;
    gone = bytes_round_down(in_time(m->options.unplug_rate, m->now - m->unplug_begun), MODEL_BLOCK);
    m->size = MAX_OF(m->unplug_to, sub_floor(m->unplug_from, gone));
    if (m->size < old) {
        m->stall += UNPLUG_STALL_USEC * (old - m->size) / MIB(128);
        m->progress_time = m->now;
    } else if (m->now >= MAX_OF(m->progress_time, m->unplug_begun) + STUCK_USEC)
        m->requested = m->size;
    if (m->size <= m->requested)
        m->unplug_begun = 0;
}

static uint64_t hot_bytes(const struct model *m)
{
    return MIN_OF(m->cached / HOT_PART, HOT_MAX);
}

/* Page cache fills what is free as fast as a disk reads, and makes room at once. */
static void move_cache(struct model *m, uint64_t usec)
{
    uint64_t hot = hot_bytes(m), wanted, room, read = in_time(READ_RATE, usec);

    m->gone = MIN_OF(m->gone, m->cached - hot);
    wanted = m->cached - m->gone;
    room = sub_floor(m->total, m->used + m->memmap + m->low);
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

/* User memory goes to the movable zone while that has room, and stays where it is. */
static void move_zones(struct model *m, uint64_t user_before)
{
    uint64_t kernel_used = m->used / 100 * m->options.kernel_part;
    uint64_t user = m->used - kernel_used + m->cache, kernel_total, kernel_room;

    /* Three parts movable for one of the kernel's: kernel zones get what that asks for beyond boot memory. */
    m->movable_managed = MIN_OF(m->size, (m->options.boot + m->size) / 4 * 3);
    kernel_total = m->total - m->movable_managed;
    /* Each zone keeps its share of the watermarks free of user memory. */
    m->kernel_low = (uint64_t)((unsigned __int128)m->low * kernel_total / m->total);
    kernel_room = sub_floor(kernel_total, kernel_used + m->memmap + m->kernel_low);
    if (user >= user_before)
        m->movable_user += user - user_before;
    else if (user_before > 0)
        m->movable_user = (uint64_t)((unsigned __int128)m->movable_user * user / user_before);
    m->movable_user = MIN_OF(MIN_OF(m->movable_user, m->movable_managed), user);
    if (user - m->movable_user > kernel_room)
        m->movable_user = MIN_OF(user - kernel_room, m->movable_managed);
    m->short_bytes = MAX_OF(m->short_bytes, sub_floor(kernel_used + m->memmap, kernel_total));
}

static uint64_t user_bytes(const struct model *m)
{
    return m->used - m->used / 100 * m->options.kernel_part + m->cache;
}

void model_advance(struct model *m, uint64_t usec, uint64_t used, uint64_t cached)
{
    uint64_t user_before = user_bytes(m);

    m->now += usec;
    if (m->asked && m->now >= m->answer_time)
        take_answer(m);
    move_size(m);
    m->used = used;
    m->cached = cached;
    m->total = boot_total(m) + m->size;
    m->memmap = m->size / MEMMAP_SHARE;
    m->low = m->total / LOW_SHARE;
    m->short_bytes = sub_floor(m->used + m->memmap + m->low, m->total);
    move_cache(m, usec);
    move_zones(m, user_before);
    if (m->short_bytes > 0)
        m->stall += usec;
}

void model_squeeze(struct model *m, uint64_t bytes)
{
    m->squeezing = bytes;
    m->squeezed_time = m->now + bytes * USEC_PER_SEC / SQUEEZE_RATE;
}

uint64_t model_free(const struct model *m)
{
    return sub_floor(m->total, m->used + m->memmap + m->cache);
}

uint64_t model_available(const struct model *m)
{
    return sub_floor(m->total, m->used + m->memmap + m->low);
}

uint64_t model_active_file(const struct model *m)
{
    return MIN_OF(m->cache, hot_bytes(m));
}

static uint64_t kernel_user(const struct model *m)
{
    return user_bytes(m) - m->movable_user;
}

uint64_t model_kernel_file(const struct model *m)
{
    uint64_t user = user_bytes(m);

    /* Page cache lies in both zones as other user memory does. */
    return user == 0 ? 0 : (uint64_t)((unsigned __int128)kernel_user(m) * m->cache / user);
}

uint64_t model_kernel_free(const struct model *m)
{
    uint64_t kernel_used = m->used / 100 * m->options.kernel_part + m->memmap;

    return MIN_OF(sub_floor(m->total - m->movable_managed, kernel_used + kernel_user(m)), model_free(m));
}
