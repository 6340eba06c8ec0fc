/* SPDX-License-Identifier: MIT */
#include "model.h"

#include "room.h"

/* Measured under QEMU: at most 5 ms of stall per 128 MiB unplugged; reclaiming 64 MB took a third of a
 * second. */
#define UNPLUG_STALL_USEC (5 * USEC_PER_MSEC)
#define SQUEEZE_RATE MIB(200)
/* The host retries a stuck unplug for this long before it ends it. */
#define STUCK_USEC (30 * USEC_PER_SEC)
/* The host sets the same requested size again when a plug has made no progress for this long. */
#define PLUG_RETRY_USEC (500 * USEC_PER_MSEC)
#define MEMMAP_SHARE 64u
/* The available memory and the page cache of a guest at the start of the recording. */
#define START_ROOM MIB(512)
#define START_CACHE MIB(512)

static uint64_t in_time(uint64_t rate, uint64_t usec)
{
    return (uint64_t)((unsigned __int128)rate * usec / USEC_PER_SEC);
}

void model_init(struct model *m, const struct model_options *o)
{
    *m = (struct model){ .options = *o, .random = UINT64_C(88172645463325252) };
}

/* xorshift64* generates the same numbers on every machine. */
static uint64_t next_random(struct model *m)
{
    m->random ^= m->random >> 12;
    m->random ^= m->random << 25;
    m->random ^= m->random >> 27;
    return m->random * UINT64_C(2685821657736338717) >> 32;
}

/* Returns the size at which an unplug gets stuck: a random one of its memory blocks has an unmovable page, at
 * which the driver ends. */
static uint64_t stuck_at(struct model *m)
{
    uint64_t blocks = (m->size - m->requested) / MODEL_MEMORY_BLOCK;

    return m->size - next_random(m) % (blocks + 1) * MODEL_MEMORY_BLOCK;
}

void model_request(struct model *m, uint64_t size)
{
    m->asked = true;
    m->asked_size = bytes_round_down(MIN_OF(size, m->options.max), MODEL_BLOCK);
    /* Half of the latency is the host's reply, the other half the plug in the guest. */
    m->answer_time = m->now + m->options.plug_latency / 2;
}

static void take_answer(struct model *m)
{
    m->asked = false;
    m->requested = m->asked_size;
    m->unplug_begun = 0;
    m->retry_time = 0;
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

/* The driver adds whole memory blocks. The memmap of each comes from the kernel zones at once, where page
 * cache makes room for it. Without room the addition fails, and the host retries. */
static void plug_to(struct model *m, uint64_t target)
{
    struct zoneinfo z;
    uint64_t payable;
    bool kernel_low;

    model_zones(m, &z);
    payable = bytes_round_down((z.kernel_room + z.kernel_file) * MEMMAP_SHARE, MODEL_MEMORY_BLOCK);
    kernel_low = room_kernel_is_low(&z, m->reserve);
    if (target <= m->size)
        return;
    if (!m->options.ballooned && target - m->size > payable) {
        m->retry_time = m->now + PLUG_RETRY_USEC + m->options.plug_latency / 2;
        target = m->size + payable;
    }
    if (kernel_low && target - m->size >= MODEL_MEMORY_BLOCK)
        m->kernel_blocks += MODEL_MEMORY_BLOCK;
    m->size = target;
    model_follow_size(m);
}

static void move_plugs(struct model *m)
{
    while (m->n_plugs > 0 && m->plugs[0].time <= m->now) {
        plug_to(m, m->plugs[0].size);
        memmove(m->plugs, m->plugs + 1, --m->n_plugs * sizeof(m->plugs[0]));
    }
    if (m->retry_time == 0 || m->now < m->retry_time)
        return;
    m->retry_time = 0;
    if (m->n_plugs == 0)
        plug_to(m, m->requested);
}

static void move_unplug(struct model *m)
{
    uint64_t old = m->size, gone;

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

void model_advance(struct model *m, uint64_t usec, uint64_t wanted, uint64_t cached)
{
    m->now += usec;
    if (m->asked && m->now >= m->answer_time)
        take_answer(m);
    move_plugs(m);
    move_unplug(m);
    model_follow_size(m);
    model_take_demand(m, usec, wanted);
    m->cached = cached;
    model_place(m, usec);
}

void model_start(struct model *m, uint64_t wanted, uint64_t cached)
{
    uint64_t max = bytes_round_down(m->options.max, MODEL_BLOCK);

    m->wanted = m->used = wanted;
    m->cached = cached;
    model_follow_size(m);
    while (m->size < max && model_available(m) < START_ROOM + MIN_OF(cached, START_CACHE)) {
        m->size = MIN_OF(m->size + MODEL_MEMORY_BLOCK, max);
        model_follow_size(m);
    }
    m->requested = m->size;
    model_fill(m);
}

void model_squeeze(struct model *m, uint64_t bytes)
{
    m->squeezing = bytes;
    m->squeezed_time = m->now + bytes * USEC_PER_SEC / SQUEEZE_RATE;
}
