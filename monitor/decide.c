/* SPDX-License-Identifier: MIT */
#include "decide-internal.h"

#include "room.h"

/* Until a grow was measured. Seen under TCG: 50-100 ms from the event to the first plugged memory. */
#define ROUND_TRIP_DEFAULT_USEC (200 * USEC_PER_MSEC)
/* A longer one is an overloaded machine: a burst of 60 MB/s plugged 4 GiB at once for a round trip of 4.3 s.
 * The guard holds what comes faster than memory. */
#define ROUND_TRIP_MAX_USEC (2 * USEC_PER_SEC)

/* The kernel may account the stall of an unplug (page migration) up to this long after its end. */
#define OWN_STALL_USEC (2 * USEC_PER_SEC)
#define RISING_HOLD_USEC USEC_PER_SEC

/* While no grow is possible, sampling every 20 ms does not help. */
#define CANNOT_GROW_INTERVAL_USEC (250 * USEC_PER_MSEC)
#define CHANGE_INTERVAL_USEC (100 * USEC_PER_MSEC)
/* While memory is spare, a late sample delays the shrink. */
#define SETTLING_INTERVAL_USEC (500 * USEC_PER_MSEC)

/* With the guard armed, a burst between two samples crosses a line, and this event wakes the monitor. Fewer
 * samples suffice while available memory does not fall. */
#define GUARDED_IDLE_INTERVAL_USEC (1250 * USEC_PER_MSEC)
#define IDLE_RATE MIB(16)

/* A rate above this many times the one measured at start is not real; on a busy machine the measurement may
 * be a quarter of the true rate. Such rates come from counters that do not change together: a manual unplug
 * lowers MemFree before MemTotal, and the new requested size arrives some 30 ms later (seen: 25.7 GB/s in an
 * idle guest, which caused a grow). */
#define PLAUSIBLE_RATE_FACTOR 8u

/* The guard keeps this many quarters of the headroom free, so that the monitor grows before a line holds. */
#define GUARD_QUARTERS 3u
/* Each plug releases the held tasks for a moment. A hold that resumes within this time is the same hold. */
#define HOLD_GAP_USEC (300 * USEC_PER_MSEC)

/* After a refusal of the standing blocks, ask again on the host's `room`, or after this time. */
#define STANDING_RETRY_USEC (30 * USEC_PER_SEC)

/* Up to this much plugged memory in kernel zones stays plugged beside the standing blocks in ZONE_MOVABLE. */
#define STANDING_KERNEL_MAX MIB(512)

/* The burst rate decays by a quarter in this time. */
#define BURST_DECAY_USEC (10 * USEC_PER_SEC)
#define LEAD_MAX GIB(1)

/* Only samples show the consumption of processes in the root cgroup, which has no memory.high. */
#define UNGUARDED_INTERVAL_USEC (250 * USEC_PER_MSEC)

/* The kernel's reserve as a part of the kernel zones, when boot memory is unknown: with a boot memory of 1
 * GiB it suffices for 300 MB of pipes. */
#define KERNEL_FLOOR_EIGHTHS 3u
#define KERNEL_FLOOR_MAX MIB(384)

void decide_init(struct decide_state *s, const struct decide_config *c)
{
    *s = (struct decide_state){ .settle_usec = c->settle_usec };
}

static const struct {
    uint64_t settle_usec;
    uint64_t headroom_part;
} profiles[_DECIDE_PROFILE_MAX] = {
    [DECIDE_CONSERVATIVE] = { 30 * USEC_PER_SEC, 16 },
    [DECIDE_BALANCED] = { 4500 * USEC_PER_MSEC, HEADROOM_PART },
    [DECIDE_EAGER] = { 3 * USEC_PER_SEC, 48 },
};

uint64_t decide_profile_settle(enum decide_profile p)
{
    return profiles[p].settle_usec;
}

/* The automatic headroom is a part of MemTotal, at least 256 MiB (192 MiB survived every measured burst; a
 * third more for the kernel zones) and at most 768 MiB: what a burst takes in a round trip does not depend on
 * the guest's size. */
uint64_t decide_headroom(const struct decide_config *c, uint64_t total)
{
    if (c->headroom > 0)
        return MAX_OF(c->headroom, DECIDE_HEADROOM_MIN);
    return CLAMP_TO(total / profiles[c->profile].headroom_part, HEADROOM_MIN, HEADROOM_MAX);
}

static uint64_t estimate_round_trip(const struct decide_state *s, uint64_t now)
{
    uint64_t longest = 0;

    for (uint32_t i = 0; i < DECIDE_HISTORY; i++)
        longest = MAX_OF(longest, s->round_trips[i]);
    if (longest == 0)
        longest = ROUND_TRIP_DEFAULT_USEC;
    if (s->grow_asked > 0)
        longest = MAX_OF(longest, sub_floor(now, s->grow_asked));
    return MIN_OF(longest, ROUND_TRIP_MAX_USEC);
}

/* The bytes consumed at a rate in a time (µs); saturates. */
static uint64_t consumed_in(uint64_t rate, uint64_t usec)
{
    uint64_t product;

    if (__builtin_mul_overflow(rate, usec, &product))
        return UINT64_MAX;
    return product / USEC_PER_SEC;
}

/* The time (µs) in which available memory can fall to three quarters of the headroom at the fastest rate. */
static uint64_t danger_interval(
        const struct decide_config *c, uint64_t available, uint64_t headroom, uint64_t rate)
{
    uint64_t spare = sub_floor(available, headroom - headroom / 4);
    uint64_t fastest = MAX_OF(MAX_OF(c->fastest_rate, rate), MIB(1));
    uint64_t usec;

    if (spare / fastest >= DECIDE_INTERVAL_MAX_USEC / USEC_PER_SEC)
        return DECIDE_INTERVAL_MAX_USEC;
    usec = spare * USEC_PER_SEC / fastest;
    return CLAMP_TO(usec, DECIDE_INTERVAL_MIN_USEC, DECIDE_INTERVAL_MAX_USEC);
}

/* The time (µs) in which the projection reaches the headroom at the current rate. */
static uint64_t interval_at_rate(uint64_t spare, uint64_t rate)
{
    if (spare / MAX_OF(rate, 1) >= DECIDE_INTERVAL_MAX_USEC / USEC_PER_SEC)
        return DECIDE_INTERVAL_MAX_USEC;
    return CLAMP_TO(
            spare * USEC_PER_SEC / MAX_OF(rate, 1), DECIDE_INTERVAL_MIN_USEC, DECIDE_INTERVAL_MAX_USEC);
}

static void update_trend(struct decide_state *s, struct decide_view *v)
{
    const struct decide_sample *p = v->sample;
    bool own = s->shrinking || (s->shrink_ended > 0 && v->now < s->shrink_ended + OWN_STALL_USEC);
    uint64_t stalled = 0;

    if (p->have_pressure && p->pressure_fresh)
        stalled = trend_stall(&s->trend, p->pressure.some.total, own);
    if (p->have_vmstat && p->vmstat_fresh)
        trend_refault(&s->trend, (p->vmstat.workingset_refault_anon + p->vmstat.workingset_refault_file) *
                                         v->config->page_size);
    trend_commit(&s->trend, v->now);

    v->event = (p->event_early || p->event_hard) && stalled > 0;
    v->pressure10 = trend_pressure(&s->trend, v->now, 10 * USEC_PER_SEC);
    v->pressure60 = trend_pressure(&s->trend, v->now, 60 * USEC_PER_SEC);
    v->refault_rate = trend_refault_rate(&s->trend, v->now, 10 * USEC_PER_SEC);
}

/* The kernel accounts the last pages of an unplug after its end. */
static enum trend_change find_change(
        const struct decide_state *s, const struct decide_sample *p, uint64_t now)
{
    if (s->shrinking || p->requested_size < p->size ||
            (s->shrink_ended > 0 && now < s->shrink_ended + DECIDE_AFTERMATH_USEC))
        return TREND_UNPLUGGING;
    return p->requested_size > p->size ? TREND_PLUGGING : TREND_STEADY;
}

/* The addition to the headroom for a long round trip: a quarter of what a burst takes beyond the default
 * round trip, at the rate of the bursts of about the last half minute. */
static uint64_t update_burst_lead(struct decide_state *s, uint64_t now)
{
    if (now < s->burst_time || now >= s->burst_time + MAX_OF(BURST_DECAY_USEC, s->settle_usec)) {
        s->burst_rate = s->burst_rate / 4 * 3;
        s->burst_time = now;
    }
    s->burst_rate = MAX_OF(s->burst_rate, s->trend.rate);
    return MIN_OF(
            consumed_in(s->burst_rate, sub_floor(estimate_round_trip(s, now), ROUND_TRIP_DEFAULT_USEC)) / 4,
            LEAD_MAX);
}

static uint64_t compute_kernel_reserve(const struct decide_sample *p, uint64_t upper)
{
    if (p->boot_size > 0)
        return room_kernel_reserve(p->boot_size, p->size, upper);
    return MIN_OF(p->zones.kernel_managed / 8 * KERNEL_FLOOR_EIGHTHS, KERNEL_FLOOR_MAX);
}

/* User memory fills ZONE_MOVABLE first and then the kernel zones, which then have nothing left for the
 * kernel: with a headroom of 384 MiB, 300 MB of pipe buffers after 3 GB of anonymous memory were OOM-killed.
 * MemAvailable does not contain the kernel's own reserve (lowmem_reserve). The part of v->reserve beyond it
 * is not usable either, except for a part of the headroom, which covers both. Clean page cache in the kernel
 * zones counts as free. */
static uint64_t compute_usable(const struct decide_view *v)
{
    const struct decide_sample *p = v->sample;
    const struct zoneinfo *z = &p->zones;
    uint64_t missing, kernel, movable;

    if (!p->have_zones)
        return v->available;
    missing = sub_floor(v->reserve, z->kernel_reserve);
    kernel = MIN_OF(sub_floor(z->kernel_free, z->kernel_reserve) + z->kernel_file, v->available);
    movable = z->movable_managed > 0 ? v->available - kernel : 0;
    return MIN_OF(v->available, movable + sub_floor(kernel, missing) + v->headroom);
}

/* The driver unplugs from ZONE_MOVABLE before it unplugs from the kernel zones. A few blocks in the kernel
 * zones therefore stay plugged, so that the driver does not unplug the standing blocks in their place. With
 * many blocks there, the shrink continues. */
static uint64_t lowest_standing(const struct decide_view *v)
{
    const struct decide_sample *p = v->sample;
    uint64_t kernel = sub_floor(p->size, p->zones.movable_managed);

    if (v->standing == 0 || p->requested_size != p->size || kernel > STANDING_KERNEL_MAX)
        return v->standing;
    return v->standing + kernel;
}

/* Fills the limits of the size. */
static void fill_limits(const struct decide_config *c, struct decide_view *v)
{
    const struct decide_sample *p = v->sample;

    v->upper = bytes_round_down(MIN_OF(c->max_size, p->max_size), MAX_OF(p->block_size, 1));
    if (p->have_zones)
        v->standing = MIN_OF(room_standing_size(p->boot_size, v->upper, p->memory_block_size), v->upper);
    v->lower = MIN_OF(MAX_OF(MAX_OF(c->min_size, p->min_size), lowest_standing(v)), v->upper);
    v->pending = sub_floor(p->requested_size, p->size);
    if (p->have_zones)
        v->reserve = compute_kernel_reserve(p, v->upper);
}

/* What the tasks held at a line would have taken, at the rate of the burst that led there. While they wait,
 * available memory does not fall and the measured rate decays, so a grow by that rate would be too small. */
static uint64_t compute_held_demand(struct decide_state *s, const struct decide_view *v)
{
    if (v->sample->guard_held) {
        if (s->held_since == 0)
            s->held_since = v->now;
        s->held_last = v->now;
    } else if (s->held_since == 0 || v->now > s->held_last + HOLD_GAP_USEC) {
        s->held_since = 0;
        return 0;
    }
    return MIN_OF(
            consumed_in(s->burst_rate, v->now - s->held_since + v->round_trip), v->sample->meminfo.total / 2);
}

/* Projects available memory over a round trip: coming memory counts as available, minus the consumption at
 * the current rate. The sampling interval does not count: the next sample is scheduled before the projection
 * reaches the headroom. */
static void project_available(struct decide_state *s, struct decide_view *v)
{
    uint64_t ready = v->usable + v->coming, held = compute_held_demand(s, v);
    uint64_t taken = MAX_OF(consumed_in(v->rate, v->round_trip + DECIDE_INTERVAL_MIN_USEC), held);

    v->projected = sub_floor(ready, taken);
    v->uncovered = MIN_OF(sub_floor(taken, ready), v->sample->meminfo.total);
}

static void fill_view(const struct decide_config *c, struct decide_state *s, const struct decide_sample *p,
        uint64_t now, struct decide_view *v)
{
    *v = (struct decide_view){ .config = c, .sample = p, .now = now };
    v->available = p->meminfo.available;
    v->headroom = decide_headroom(c, p->meminfo.total) + update_burst_lead(s, now);
    fill_limits(c, v);
    v->usable = compute_usable(v);
    v->demand = p->meminfo.total - v->usable + (p->meminfo.swap_total - p->meminfo.swap_free);
    v->rate = s->trend.rate;
    update_trend(s, v);
    decide_follow_grow(s, v);
    v->coming = decide_coming(s, v);
    decide_follow_shrink(s, v);
    v->round_trip = estimate_round_trip(s, now);
    v->need = v->demand + MIN_OF(consumed_in(v->rate, sub_floor(v->round_trip, ROUND_TRIP_DEFAULT_USEC)),
                                  p->meminfo.total);
    v->burst = MIN_OF(consumed_in(s->burst_rate, v->round_trip), LEAD_MAX);
    decide_follow_settle(s, v, find_change(s, p, now) == TREND_STEADY);
    project_available(s, v);
    v->interval = MIN_OF(danger_interval(c, v->usable, v->headroom, v->rate),
            interval_at_rate(sub_floor(v->projected, v->headroom), v->rate));
}

static enum channel_level compute_level(
        const struct decide_state *s, const struct decide_view *v, const struct decision *d)
{
    bool cannot_grow = d->why == DECIDE_AT_MAX || d->why == DECIDE_KERNEL_ZONES || d->why == DECIDE_REFUSED;
    bool short_now = v->available < v->headroom;

    if (v->available < v->headroom / 2 || v->sample->guard_held || (cannot_grow && short_now))
        return CHANNEL_LEVEL_CRITICAL;
    if (d->action == DECIDE_GROW || d->why == DECIDE_PLUGGING || cannot_grow || short_now ||
            (s->last_grow > 0 && v->now < s->last_grow + RISING_HOLD_USEC))
        return CHANNEL_LEVEL_RISING;
    if (d->action == DECIDE_SHRINK || d->why == DECIDE_SETTLING || d->why == DECIDE_UNDER_PRESSURE ||
            d->why == DECIDE_UNPLUGGING || d->why == DECIDE_BACK_OFF || d->why == DECIDE_SQUEEZING)
        return CHANNEL_LEVEL_SETTLING;
    return CHANNEL_LEVEL_NORMAL;
}

/* The headroom to arm the guard with. At the max size it is disarmed, since no plug could release held tasks;
 * while the last plug is under way it stays armed. v->headroom also contains
 * the burst lead, which follows bursts: in the guard's line it would hold a burst back from the memory meant
 * for that burst. */
static uint64_t compute_guard_headroom(const struct decide_view *v)
{
    const struct decide_sample *p = v->sample;

    if (!p->connected || p->block_size == 0 || p->size >= v->upper)
        return 0;
    return MAX_OF(decide_headroom(v->config, p->meminfo.total) / 4 * GUARD_QUARTERS, DECIDE_HEADROOM_MIN);
}

static bool is_idle(const struct decide_view *v)
{
    return v->rate < IDLE_RATE && v->usable >= v->headroom + v->headroom / 2;
}

static uint64_t compute_wait(
        const struct decide_state *s, const struct decide_view *v, const struct decision *d)
{
    uint64_t wait = v->interval;

    if (d->why == DECIDE_NO_HOST || d->why == DECIDE_AT_MAX)
        return MAX_OF(wait, CANNOT_GROW_INTERVAL_USEC);
    if (v->sample->guard_armed && !v->sample->unguarded && is_idle(v))
        wait = MAX_OF(wait, GUARDED_IDLE_INTERVAL_USEC);
    if (v->sample->unguarded)
        wait = MIN_OF(wait, UNGUARDED_INTERVAL_USEC);
    if (d->action != DECIDE_HOLD || d->why == DECIDE_PLUGGING || d->why == DECIDE_UNPLUGGING ||
            d->why == DECIDE_IN_FLIGHT || d->why == DECIDE_KERNEL_ZONES)
        wait = MIN_OF(wait, CHANGE_INTERVAL_USEC);
    if (d->why == DECIDE_REFUSED && s->refused_until > v->now)
        wait = CLAMP_TO(s->refused_until - v->now, DECIDE_INTERVAL_MIN_USEC, CANNOT_GROW_INTERVAL_USEC);
    if (d->why == DECIDE_SETTLING || d->why == DECIDE_UNDER_PRESSURE || d->why == DECIDE_SQUEEZING)
        wait = MIN_OF(wait, SETTLING_INTERVAL_USEC);
    if (d->why == DECIDE_SETTLING && s->shrink_ended > 0 && v->now < s->shrink_ended + DECIDE_AFTERMATH_USEC)
        wait = MIN_OF(wait, s->shrink_ended + DECIDE_AFTERMATH_USEC - v->now);
    return CLAMP_TO(wait, DECIDE_INTERVAL_MIN_USEC, DECIDE_INTERVAL_MAX_USEC);
}

static void choose_action(struct decide_state *s, const struct decide_view *v, struct decision *d)
{
    const struct decide_sample *p = v->sample;

    if (!p->connected || p->block_size == 0 || p->memory_block_size == 0) {
        d->why = DECIDE_NO_HOST;
        return;
    }
    if (p->in_flight) {
        d->why = DECIDE_IN_FLIGHT;
        return;
    }
    if (decide_grow(s, v, d))
        return;
    if (decide_shrink(s, v, d))
        return;
    d->why = DECIDE_ENOUGH;
}

static void fill_numbers(const struct decide_state *s, const struct decide_view *v, struct decision *d)
{
    d->available = v->available;
    d->projected = v->projected;
    d->headroom = v->headroom;
    d->rate = v->rate;
    d->round_trip = v->round_trip;
    d->spare = sub_floor(v->available, v->headroom);
    d->pressure10 = v->pressure10;
    d->pressure60 = v->pressure60;
    d->refault_rate = v->refault_rate;
    d->guard_headroom = compute_guard_headroom(v);
    d->level = compute_level(s, v, d);
    d->wait_usec = compute_wait(s, v, d);
}

uint64_t decide_reserved(const struct decide_sample *p)
{
    return p->have_zones ? p->zones.kernel_reserve : 0;
}

/* Free and reclaimable memory, which does not change with the kernel's watermarks and reserves. */
static uint64_t sum_unreserved(const struct meminfo *m)
{
    return m->free + m->active_file + m->inactive_file + m->sreclaimable + m->swap_free;
}

/* Available memory falls by consumption no more than free and reclaimable memory do. MemAvailable alone also
 * falls when the kernel raises its reserve or its watermarks. (Measured: 3 GB/s of apparent consumption when
 * the actuator wrote the ratio, and 3.2 GB/s, 92 MiB in 29 ms with MemFree unchanged, some 100 ms after a
 * block came online; up to 2.75 GiB were plugged for it in 4 of 20 bursts of 140 MB/s.) */
static bool follow_available(struct decide_state *s, const struct decide_sample *p, uint64_t now,
        uint64_t available, enum trend_change change, uint64_t most)
{
    uint64_t unreserved = sum_unreserved(&p->meminfo);
    uint64_t least = sub_floor(s->trend.last_available, sub_floor(s->unreserved, unreserved));
    bool good = trend_memory(&s->trend, now, MAX_OF(available, least), p->meminfo.total, change, most);

    if (s->trend.last_time == now) {
        s->trend.last_available = available;
        s->unreserved = unreserved;
    }
    return good;
}

/* While memory is unplugged, available memory falls before MemTotal, by the step at most. A fall beyond the
 * step is consumption. */
static bool follow_memory(
        const struct decide_config *c, struct decide_state *s, const struct decide_sample *p, uint64_t now)
{
    uint64_t most = c->fastest_rate > UINT64_MAX / PLAUSIBLE_RATE_FACTOR
                            ? UINT64_MAX
                            : c->fastest_rate * PLAUSIBLE_RATE_FACTOR;
    enum trend_change change = find_change(s, p, now);
    uint64_t swap_free = p->meminfo.swap_free, available = p->meminfo.available;

    if (change == TREND_UNPLUGGING && s->shrink_leaves > 0) {
        change = TREND_STEPPING;
        available = MIN_OF(available, s->shrink_leaves);
    }
    return follow_available(s, p, now, available + decide_reserved(p) + swap_free, change, MAX_OF(most, 1));
}

void decide_step(const struct decide_config *c, struct decide_state *s, const struct decide_sample *p,
        uint64_t now, struct decision *ret)
{
    struct decision d = { .action = DECIDE_HOLD };
    struct decide_view v;

    if (!p->have_meminfo || !follow_memory(c, s, p, now)) {
        d.why = DECIDE_UNKNOWN_INPUT;
        d.level = s->level;
        d.wait_usec = USEC_PER_SEC;
        *ret = d;
        return;
    }
    fill_view(c, s, p, now, &v);
    choose_action(s, &v, &d);
    fill_numbers(s, &v, &d);
    s->level = d.level;
    *ret = d;
}

void decide_room(struct decide_state *s)
{
    s->refused_until = 0;
    s->standing_until = 0;
}

void decide_result(
        struct decide_state *s, enum decide_action action, enum decide_outcome outcome, uint64_t now)
{
    static const uint64_t wait[_DECIDE_OUTCOME_MAX] = {
        [DECIDE_REFUSED_HOST] = USEC_PER_SEC,
        [DECIDE_REFUSED_RATE] = 200 * USEC_PER_MSEC,
        [DECIDE_REFUSED_LIMIT] = 5 * USEC_PER_SEC,
        [DECIDE_UNANSWERED] = USEC_PER_SEC,
    };

    if (outcome == DECIDE_GRANTED)
        return;
    if (action == DECIDE_GROW && s->standing_asked) {
        s->grow_asked = 0;
        s->standing_until = now + STANDING_RETRY_USEC;
    } else if (action == DECIDE_GROW) {
        s->grow_asked = 0;
        s->refused = outcome;
        s->refused_until = now + wait[outcome];
    } else {
        s->shrinking = false;
        s->back_off_until = now + 5 * USEC_PER_SEC;
        s->back_off_size = UINT64_MAX;
    }
}
