/* SPDX-License-Identifier: MIT */
#include "decide-internal.h"

/* Steps double from two memory blocks to 512 MiB while grows follow each other (steps of 128 MiB took 31 s
 * where 512 MiB and more took 6-18 s). More only when the measured rate asks for it, so that a burst's end
 * leaves little idle; or when so little is left that nothing can be measured any more. */
#define STEP_STREAK_MAX MIB(512)
#define STEP_STREAK_BLIND_MAX GIB(4)
#define STREAK_USEC (2 * USEC_PER_SEC)

/* A pressure event counts when less than this much of the headroom, in quarters, is available. */
#define PRESSURE_QUARTERS 6u

/* Refaults of this many bytes a second together with this much pressure say that the working set does not
 * fit. Page cache that streams through does not refault. */
#define REFAULT_GROW_RATE MIB(8)
#define REFAULT_GROW_PRESSURE 100u

/* memmap: 64 bytes for each page of 4 KiB. */
#define MEMMAP_SHARE 64u
/* What page tables of the memory that is plugged and the driver itself take beside the memmap. */
#define KERNEL_ZONE_SPARE MIB(4)

/* A grow that has brought nothing for this long is not waited for any more. */
#define GROW_FORGET_USEC (10 * USEC_PER_SEC)

void decide_follow_grow(struct decide_state *s, const struct decide_view *v)
{
    if (s->grow_asked == 0)
        return;
    if (v->sample->meminfo.total > s->grow_total) {
        s->round_trips[s->round_trip_next] = MAX_OF(v->now - s->grow_asked, 1);
        s->round_trip_next = (s->round_trip_next + 1) % DECIDE_HISTORY;
        s->grow_asked = 0;
        s->grow_ended = v->now;
    } else if (v->now > s->grow_asked + GROW_FORGET_USEC)
        s->grow_asked = 0;
}

/* The most that the kernel zones can pay the memmap for, without going under their min watermark. Clean page
 * cache in them is given up for it, but not in an instant: half of it counts. */
static uint64_t kernel_zones_allow(const struct decide_sample *p)
{
    uint64_t free_now, spare;

    if (!p->have_zones)
        return UINT64_MAX;
    free_now = p->zones.kernel_free + p->zones.kernel_file / 2;
    spare = sub_floor(free_now, p->zones.kernel_min + KERNEL_ZONE_SPARE);
    return spare > UINT64_MAX / MEMMAP_SHARE ? UINT64_MAX : spare * MEMMAP_SHARE;
}

static enum decide_why need(const struct decide_state *s, const struct decide_view *v)
{
    uint64_t reserved = v->available - v->usable;

    if (v->available + v->pending < v->headroom)
        return DECIDE_SHORT;
    if (v->projected + reserved < v->headroom)
        return DECIDE_PROJECTED_SHORT;
    if (v->projected < v->headroom)
        return DECIDE_KERNEL_FLOOR;
    if (v->event && v->available < v->headroom / 4 * PRESSURE_QUARTERS)
        return DECIDE_PRESSURE;
    if (v->event && v->refault_rate >= REFAULT_GROW_RATE && v->pressure10 >= REFAULT_GROW_PRESSURE &&
            v->now > s->last_grow + USEC_PER_SEC)
        return DECIDE_REFAULTS;
    return _DECIDE_WHY_INVALID;
}

static uint64_t step_wanted(const struct decide_state *s, const struct decide_view *v)
{
    uint64_t block = v->sample->memory_block_size;
    uint64_t deficit = sub_floor(v->headroom + DECIDE_SLACK, v->projected);
    uint64_t most = v->available < v->headroom / 2 ? STEP_STREAK_BLIND_MAX : STEP_STREAK_MAX;
    uint64_t streak = MIN_OF(block * 2 << MIN_OF(s->streak, 8), MAX_OF(most, block));
    uint64_t cover, wanted;

    /* What goes until it is here is in the projection; this goes until the next one can be, and the
     * projection has some of that too. */
    if (__builtin_mul_overflow(v->rate, v->round_trip / 2, &cover))
        cover = UINT64_MAX;
    cover /= USEC_PER_SEC;
    if (__builtin_add_overflow(deficit, cover, &wanted))
        wanted = UINT64_MAX / 2;
    wanted = MAX_OF(wanted, streak);
    if (bytes_round_up(wanted, block, &wanted) < 0)
        wanted = UINT64_MAX / 2;
    return wanted;
}

static void commit_grow(struct decide_state *s, const struct decide_view *v)
{
    const struct decide_sample *p = v->sample;

    decide_note_flap(s, v);
    s->streak = s->last_grow > 0 && v->now < MAX_OF(s->last_grow, s->grow_ended) + STREAK_USEC ? s->streak + 1
                                                                                               : 0;
    s->last_grow = v->now;
    if (s->grow_asked == 0) {
        s->grow_asked = v->now;
        s->grow_total = p->meminfo.total;
    }
    s->shrinking = false;
}

bool decide_grow(struct decide_state *s, const struct decide_view *v, struct decision *d)
{
    const struct decide_sample *p = v->sample;
    enum decide_why why = need(s, v);
    uint64_t base = MAX_OF(p->size, p->requested_size), room, allow, bytes;

    if (why == _DECIDE_WHY_INVALID) {
        if (v->pending > 0 && v->available < v->headroom) {
            d->why = DECIDE_PLUGGING;
            return true;
        }
        return false;
    }
    d->why = why;
    room = bytes_round_down(sub_floor(v->upper, base), p->block_size);
    if (room == 0) {
        d->why = DECIDE_AT_MAX;
        return why != DECIDE_KERNEL_FLOOR;
    }
    if (v->now < s->refused_until) {
        d->why = DECIDE_REFUSED;
        return true;
    }
    allow = bytes_round_down(kernel_zones_allow(p), p->memory_block_size);
    /* What is pending has still to be paid for. */
    allow = sub_floor(allow, v->pending);
    bytes = MIN_OF(MIN_OF(step_wanted(s, v), room), bytes_round_down(allow, p->block_size));
    if (bytes == 0) {
        d->why = v->pending > 0 ? DECIDE_PLUGGING : DECIDE_KERNEL_ZONES;
        return true;
    }
    d->action = DECIDE_GROW;
    d->bytes = bytes;
    commit_grow(s, v);
    return true;
}
