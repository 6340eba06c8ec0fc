/* SPDX-License-Identifier: MIT */
#include "decide-internal.h"

#include "room.h"

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

/* A plug that has brought no block for this long has failed in the driver, which by itself tries again after
 * 50 s only. A new requested size makes it try at once. Under TCG a block takes some 10 ms. */
#define PLUG_STUCK_USEC (500 * USEC_PER_MSEC)

/* When the blocks that are asked for a kernel that is low do not make the kernel zones larger (the actuator
 * is set to leave the policy alone), the monitor waits longer each time. */
#define KERNEL_LOW_MIN_USEC (2 * USEC_PER_SEC)
#define KERNEL_LOW_IN_VAIN_USEC (60 * USEC_PER_SEC)
/* When the standing blocks do not come online in ZONE_MOVABLE, more of them would not either. */
#define STANDING_IN_VAIN_USEC (3600 * USEC_PER_SEC)
#define KERNEL_LOW_MAX_USEC (3600 * USEC_PER_SEC)

static void follow_plug(struct decide_state *s, const struct decide_view *v)
{
    if (v->pending == 0)
        s->plug_moved = 0;
    else if (s->plug_moved == 0 || v->sample->size != s->plug_size)
        s->plug_moved = v->now;
    s->plug_size = v->sample->size;
}

uint64_t decide_coming(const struct decide_state *s, const struct decide_view *v)
{
    return s->plug_moved > 0 && v->now >= s->plug_moved + PLUG_STUCK_USEC ? 0 : v->pending;
}

static bool plug_is_stuck(const struct decide_view *v)
{
    return v->pending > v->coming;
}

/* Did the block that was asked for the kernel zones reach them? */
static void follow_kernel_low(struct decide_state *s, const struct decide_view *v)
{
    if (s->kernel_low_managed == 0 || v->pending > 0 || v->sample->in_flight || !v->sample->have_zones)
        return;
    if (v->sample->zones.kernel_managed > s->kernel_low_managed) {
        s->kernel_low_usec = 0;
        s->kernel_low_managed = 0;
        return;
    }
    if (v->now < s->kernel_low_until)
        return;
    s->kernel_low_managed = 0;
    s->kernel_low_usec = CLAMP_TO(s->kernel_low_usec * 2, KERNEL_LOW_IN_VAIN_USEC, KERNEL_LOW_MAX_USEC);
    s->kernel_low_until = v->now + s->kernel_low_usec;
}

/* Did the blocks that were asked for reach ZONE_MOVABLE? With Onlining=keep they may all go to a kernel zone.
 */
static void follow_standing(struct decide_state *s, const struct decide_view *v)
{
    if (!s->standing_asked || v->pending > 0 || v->sample->in_flight || !v->sample->have_zones)
        return;
    s->standing_asked = false;
    if (v->sample->size > s->standing_size && v->sample->zones.movable_managed <= s->standing_movable)
        s->standing_until = v->now + STANDING_IN_VAIN_USEC;
}

void decide_follow_grow(struct decide_state *s, const struct decide_view *v)
{
    follow_plug(s, v);
    follow_kernel_low(s, v);
    follow_standing(s, v);
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

static bool kernel_is_low(const struct decide_state *s, const struct decide_view *v)
{
    return v->sample->have_zones && v->sample->boot_size > 0 && v->pending == 0 &&
           room_kernel_is_low(&v->sample->zones, v->reserve) && v->now >= s->kernel_low_until;
}

/* What is missing of the standing blocks in ZONE_MOVABLE: blocks that went to a kernel zone are no help. */
static uint64_t standing_missing(const struct decide_view *v)
{
    uint64_t movable = MIN_OF(v->sample->zones.movable_managed, v->sample->size);

    return v->pending > 0 || v->sample->requested_size < v->sample->size ? 0
                                                                         : sub_floor(v->standing, movable);
}

static bool standing_is_due(const struct decide_state *s, const struct decide_view *v)
{
    return standing_missing(v) > 0 && v->now >= s->standing_until;
}

static enum decide_why need(const struct decide_state *s, const struct decide_view *v)
{
    uint64_t reserved = v->available - v->usable;

    if (v->available + v->coming < v->headroom)
        return DECIDE_SHORT;
    if (v->sample->guard_held && v->coming == 0)
        return DECIDE_HELD;
    if (v->projected + reserved < v->headroom)
        return DECIDE_PROJECTED_SHORT;
    if (kernel_is_low(s, v))
        return DECIDE_KERNEL_LOW;
    if (v->projected < v->headroom)
        return DECIDE_KERNEL_FLOOR;
    if (v->event && v->available < v->headroom / 4 * PRESSURE_QUARTERS)
        return DECIDE_PRESSURE;
    if (v->event && v->refault_rate >= REFAULT_GROW_RATE && v->pressure10 >= REFAULT_GROW_PRESSURE &&
            v->now > s->last_grow + USEC_PER_SEC)
        return DECIDE_REFAULTS;
    if (standing_is_due(s, v))
        return DECIDE_STANDING;
    return _DECIDE_WHY_INVALID;
}

/* What goes in half of a round trip at a rate. */
static uint64_t cover(const struct decide_view *v, uint64_t rate)
{
    uint64_t bytes;

    return __builtin_mul_overflow(rate, v->round_trip / 2, &bytes) ? UINT64_MAX / 2 : bytes / USEC_PER_SEC;
}

static uint64_t step_wanted(const struct decide_state *s, const struct decide_view *v, enum decide_why why)
{
    uint64_t block = v->sample->memory_block_size;
    uint64_t deficit = sub_floor(v->headroom + DECIDE_SLACK + v->overdraft, v->projected);
    uint64_t most = v->available < v->headroom / 2 ? STEP_STREAK_BLIND_MAX : STEP_STREAK_MAX;
    uint64_t streak = MIN_OF(block * 2 << MIN_OF(s->streak, 8), MAX_OF(most, block));
    uint64_t wanted;

    if (why == DECIDE_STANDING)
        return bytes_round_up(standing_missing(v), block, &wanted) < 0 ? block : wanted;
    if (why == DECIDE_KERNEL_LOW || plug_is_stuck(v))
        return block;
    /* What goes until it is here is in the projection; this goes until the next one can be, and the
     * projection has some of that too. At a line nothing goes: the rate of the burst before it counts. */
    if (__builtin_add_overflow(deficit, cover(v, why == DECIDE_HELD ? s->burst_rate : v->rate), &wanted))
        wanted = UINT64_MAX / 2;
    wanted = MAX_OF(wanted, streak);
    if (bytes_round_up(wanted, block, &wanted) < 0)
        wanted = UINT64_MAX / 2;
    return wanted;
}

static void commit_grow(struct decide_state *s, const struct decide_view *v, enum decide_why why)
{
    const struct decide_sample *p = v->sample;

    s->standing_asked = why == DECIDE_STANDING;
    if (v->pending > 0)
        s->plug_moved = v->now;
    if (why == DECIDE_STANDING) {
        s->standing_size = p->size;
        s->standing_movable = p->zones.movable_managed;
        return;
    }
    if (why == DECIDE_KERNEL_LOW) {
        s->kernel_low_managed = p->zones.kernel_managed;
        s->kernel_low_until = v->now + KERNEL_LOW_MIN_USEC;
        return;
    }
    decide_note_flap(s, v);
    s->streak = s->last_grow > 0 && v->now < MAX_OF(s->last_grow, s->grow_ended) + STREAK_USEC ? s->streak + 1
                                                                                               : 0;
    s->last_grow = v->now;
    if (s->grow_asked == 0) {
        s->grow_asked = v->now;
        s->grow_total = p->meminfo.total + v->pending;
    }
    s->shrinking = false;
}

/* What the kernel zones can pay for. When that is less than a block, one block is asked for all the same: the
 * driver fails cleanly, and a failed plug is asked for again. Waiting would have no end. */
static uint64_t payable(
        const struct decide_state *s, const struct decide_view *v, uint64_t wanted, struct decision *d)
{
    const struct decide_sample *p = v->sample;
    /* What is pending has still to be paid for. */
    uint64_t allow = sub_floor(bytes_round_down(kernel_zones_allow(p), p->memory_block_size), v->pending);

    if (allow >= MIN_OF(wanted, p->memory_block_size))
        return MIN_OF(wanted, bytes_round_down(allow, p->block_size));
    d->why = v->coming > 0 ? DECIDE_PLUGGING : DECIDE_KERNEL_ZONES;
    if (v->coming > 0 || (s->last_grow > 0 && v->now < s->last_grow + PLUG_STUCK_USEC))
        return 0;
    return MIN_OF(wanted, p->memory_block_size);
}

/* Growth that is not urgent does not stand in the way of anything else. */
static bool is_urgent(enum decide_why why)
{
    return why != DECIDE_KERNEL_FLOOR && why != DECIDE_KERNEL_LOW && why != DECIDE_STANDING;
}

bool decide_grow(struct decide_state *s, const struct decide_view *v, struct decision *d)
{
    const struct decide_sample *p = v->sample;
    enum decide_why why = need(s, v);
    uint64_t base = MAX_OF(p->size, p->requested_size), room, bytes;

    if (why == _DECIDE_WHY_INVALID) {
        if (v->pending > 0 && (v->available < v->headroom || p->guard_held)) {
            d->why = DECIDE_PLUGGING;
            return true;
        }
        return false;
    }
    d->why = why;
    room = bytes_round_down(sub_floor(v->upper, base), p->block_size);
    if (room == 0) {
        d->why = DECIDE_AT_MAX;
        return is_urgent(why);
    }
    if (v->now < s->refused_until) {
        d->why = DECIDE_REFUSED;
        return is_urgent(why) || why == DECIDE_KERNEL_FLOOR;
    }
    bytes = payable(s, v, MIN_OF(step_wanted(s, v, why), room), d);
    if (bytes == 0)
        return true;
    d->action = DECIDE_GROW;
    d->bytes = bytes;
    commit_grow(s, v, why);
    return true;
}
