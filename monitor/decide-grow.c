/* SPDX-License-Identifier: MIT */
#include "decide-internal.h"

#include "room.h"

/* Steps double from two memory blocks to 512 MiB while grows follow each other (steps of 128 MiB took 31 s
 * where 512 MiB and more took 6-18 s). A step is larger only when the measured rate requires it, so that
 * little memory is idle after a burst; or when too little is available to measure a rate. */
#define STEP_STREAK_MAX MIB(512)
#define STEP_STREAK_SHORT_MAX GIB(4)
#define STREAK_USEC (2 * USEC_PER_SEC)

/* A pressure event causes a grow when less than this many quarters of the headroom are available. */
#define PRESSURE_QUARTERS 6u

/* At this many refaulted bytes per second and this much pressure (permyriad) the working set does not fit.
 * Page cache of streaming I/O does not refault. */
#define REFAULT_GROW_RATE MIB(8)
#define REFAULT_GROW_PRESSURE 100u

/* memmap: 64 bytes for each page of 4 KiB. */
#define MEMMAP_SHARE 64u
/* For the page tables of plugged memory and for the driver, beside the memmap. */
#define KERNEL_ZONE_SPARE MIB(4)

/* Stop waiting for a grow that has plugged nothing for this long. */
#define GROW_FORGET_USEC (10 * USEC_PER_SEC)

/* A plug without a new block for this long has failed in the driver. The driver retries after 50 s, but at
 * once when the requested size changes. Under TCG a block takes some 10 ms. */
#define PLUG_STUCK_USEC (500 * USEC_PER_MSEC)

/* Blocks for a low kernel do not enlarge the kernel zones when the actuator's configuration leaves the
 * onlining policy alone. The monitor then doubles the time between its requests, within these bounds. */
#define KERNEL_LOW_MIN_USEC (2 * USEC_PER_SEC)
#define KERNEL_LOW_NO_EFFECT_USEC (60 * USEC_PER_SEC)
/* When the standing blocks do not come online in ZONE_MOVABLE, more blocks would not either: wait this
 * long. */
#define STANDING_NO_EFFECT_USEC (3600 * USEC_PER_SEC)
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

/* Checks whether the block requested for the kernel zones has reached them. */
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
    s->kernel_low_usec = CLAMP_TO(s->kernel_low_usec * 2, KERNEL_LOW_NO_EFFECT_USEC, KERNEL_LOW_MAX_USEC);
    s->kernel_low_until = v->now + s->kernel_low_usec;
}

/* Checks whether the requested standing blocks have reached ZONE_MOVABLE. With Onlining=keep they may all go
 * to a kernel zone. */
static void follow_standing(struct decide_state *s, const struct decide_view *v)
{
    if (!s->standing_asked || v->pending > 0 || v->sample->in_flight || !v->sample->have_zones)
        return;
    s->standing_asked = false;
    if (v->sample->size > s->standing_size && v->sample->zones.movable_managed <= s->standing_movable)
        s->standing_until = v->now + STANDING_NO_EFFECT_USEC;
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

/* The most bytes whose memmap fits in the kernel zones above their min watermark. The kernel reclaims clean
 * page cache there, but not at once: half of it counts. */
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

/* The bytes that ZONE_MOVABLE lacks of the standing blocks. Blocks in a kernel zone do not count. */
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

static enum decide_why reason_to_grow(const struct decide_state *s, const struct decide_view *v)
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

/* The bytes consumed at a rate in half a round trip. */
static uint64_t consumed_in_half_trip(const struct decide_view *v, uint64_t rate)
{
    uint64_t bytes;

    return __builtin_mul_overflow(rate, v->round_trip / 2, &bytes) ? UINT64_MAX / 2 : bytes / USEC_PER_SEC;
}

static uint64_t find_wanted_step(
        const struct decide_state *s, const struct decide_view *v, enum decide_why why)
{
    uint64_t block = v->sample->memory_block_size;
    uint64_t deficit = sub_floor(v->headroom + HEADROOM_SLACK + v->uncovered, v->projected);
    uint64_t most = v->available < v->headroom / 2 ? STEP_STREAK_SHORT_MAX : STEP_STREAK_MAX;
    uint64_t streak = MIN_OF(block * 2 << MIN_OF(s->streak, 8), MAX_OF(most, block));
    uint64_t wanted;

    if (why == DECIDE_STANDING)
        return bytes_round_up(standing_missing(v), block, &wanted) < 0 ? block : wanted;
    if (why == DECIDE_KERNEL_LOW || plug_is_stuck(v))
        return block;
    /* The projection covers consumption until this step is plugged, and some of the time after it.
     * consumed_in_half_trip() adds the rest until the next step can be plugged. Tasks held at a line consume
     * nothing, so the rate of the burst before counts. */
    if (__builtin_add_overflow(
                deficit, consumed_in_half_trip(v, why == DECIDE_HELD ? s->burst_rate : v->rate), &wanted))
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

/* Limits a step to the memory whose memmap fits in the kernel zones. When not even one block fits, it asks
 * for one block: the driver fails cleanly and the monitor asks again. Waiting for room would never end. */
static uint64_t limit_to_payable(
        const struct decide_state *s, const struct decide_view *v, uint64_t wanted, struct decision *d)
{
    const struct decide_sample *p = v->sample;
    /* The pending memory still needs its memmap. */
    uint64_t allow = sub_floor(bytes_round_down(kernel_zones_allow(p), p->memory_block_size), v->pending);

    if (allow >= MIN_OF(wanted, p->memory_block_size))
        return MIN_OF(wanted, bytes_round_down(allow, p->block_size));
    d->why = v->coming > 0 ? DECIDE_PLUGGING : DECIDE_KERNEL_ZONES;
    if (v->coming > 0 || (s->last_grow > 0 && v->now < s->last_grow + PLUG_STUCK_USEC))
        return 0;
    return MIN_OF(wanted, p->memory_block_size);
}

/* While a grow that is not urgent has to wait, the decision may shrink. */
static bool is_urgent(enum decide_why why)
{
    return why != DECIDE_KERNEL_FLOOR && why != DECIDE_KERNEL_LOW && why != DECIDE_STANDING;
}

bool decide_grow(struct decide_state *s, const struct decide_view *v, struct decision *d)
{
    const struct decide_sample *p = v->sample;
    enum decide_why why = reason_to_grow(s, v);
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
    bytes = limit_to_payable(s, v, MIN_OF(find_wanted_step(s, v, why), room), d);
    if (bytes == 0)
        return true;
    d->action = DECIDE_GROW;
    d->bytes = bytes;
    commit_grow(s, v, why);
    return true;
}
