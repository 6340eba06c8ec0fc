/* SPDX-License-Identifier: MIT */
#include "decide-internal.h"

/* The guest is calm when tasks stalled for less than 1 % of the last 10 s and 2 % of the last minute, when
 * the last 10 s are at most 0.5 % above the minute, and when refaults are low (bytes per second). */
#define CALM_PRESSURE10 100u
#define CALM_PRESSURE60 200u
#define CALM_RISING 50u
#define CALM_REFAULT_RATE MIB(4)

/* Between the end of a step and the next step, available memory must show what the step cost. */
#define STEP_PAUSE_USEC DECIDE_AFTERMATH_USEC

/* A regular step needs the headroom plus this as spare memory; a small step gives back less. */
#define MIN_SPARE_EXTRA MIB(640)

/* Where memory takes long to come, a pause of the demand is no end of it: no step follows a grow within this
 * many round trips. (Seen at 1.7 s: 1.5 GiB given back in the middle of a burst.) */
#define QUIET_ROUND_TRIPS 4u

/* The most that a small step keeps for another burst. Without a limit 640 MiB stayed plugged for two minutes
 * after a burst of 3 GiB at 140 MB/s, in 4 of 20 runs. */
#define SMALL_STEP_BURST_MAX MIB(320)

/* The back-off begins after the host has retried a stuck unplug for 30 s. */
#define BACK_OFF_MIN_USEC (10 * USEC_PER_SEC)
#define BACK_OFF_REST_USEC (600 * USEC_PER_SEC)
#define BACK_OFF_MAX_USEC (3600 * USEC_PER_SEC)

/* Without pressure statistics, memory must be spare for this many times longer. */
#define NO_PRESSURE_SETTLE_FACTOR 4u

/* Reclaim of page cache is split (64 MB take 0.1-0.7 s), and delays a step only this many times. */
#define SQUEEZE_MAX MIB(128)
#define SQUEEZE_MIN MIB(16)
#define SQUEEZE_TRIES 4u

uint64_t decide_total_to_keep(const struct decide_view *v, uint64_t peak)
{
    return peak + v->headroom + v->headroom / 8 + HEADROOM_SLACK;
}

uint64_t decide_min_spare(const struct decide_view *v)
{
    return v->headroom + MIN_SPARE_EXTRA;
}

/* When less than a memory block stays plugged (seen: the last 4 MiB, for minutes), the next request waits
 * long. After a step that unplugged at least a memory block, the back-off does not double. */
static void begin_back_off(struct decide_state *s, const struct decide_view *v)
{
    bool moved = sub_floor(s->shrink_from, v->sample->size) >= v->sample->memory_block_size;
    uint64_t first = v->sample->size < v->sample->memory_block_size ? BACK_OFF_REST_USEC : BACK_OFF_MIN_USEC;

    s->back_off_usec =
            s->back_off_usec == 0 || moved ? first : MIN_OF(s->back_off_usec * 2, BACK_OFF_MAX_USEC);
    s->back_off_until = v->now + s->back_off_usec;
    s->back_off_size = v->sample->size;
}

/* Memory plugged after the stuck step did not block it, so it may be unplugged. (Seen: 8 MiB that stayed
 * plugged kept 768 MiB more for ten minutes.) */
static bool is_backing_off(const struct decide_state *s, const struct decide_view *v)
{
    return v->now < s->back_off_until &&
           sub_floor(v->sample->size, v->sample->memory_block_size) < s->back_off_size;
}

static uint64_t lowest_target(const struct decide_state *s, const struct decide_view *v)
{
    return v->now < s->back_off_until ? MAX_OF(v->lower, s->back_off_size) : v->lower;
}

void decide_follow_shrink(struct decide_state *s, const struct decide_view *v)
{
    const struct decide_sample *p = v->sample;

    if (!s->shrinking || p->in_flight)
        return;
    if (p->size > p->requested_size)
        return; /* under way */
    s->shrinking = false;
    s->shrink_ended = v->now;
    s->squeezes = 0;
    /* The host ends a stuck shrink by setting the requested size back to the size. */
    if (p->size > s->shrink_target)
        begin_back_off(s, v);
    else if (p->size < s->back_off_size)
        s->back_off_usec = 0;
}

static bool is_calm(const struct decide_view *v)
{
    if (v->sample->have_pressure && (v->pressure10 >= CALM_PRESSURE10 || v->pressure60 >= CALM_PRESSURE60 ||
                                            v->pressure10 > v->pressure60 + CALM_RISING))
        return false;
    return !v->sample->have_vmstat || v->refault_rate < CALM_REFAULT_RATE;
}

/* The largest step up to wanted after which available is still at least headroom + step: a shrink below the
 * memory in use does not get stuck, it makes the kernel OOM-kill processes. */
static uint64_t limit_step(const struct decide_state *s, const struct decide_view *v, uint64_t wanted)
{
    const struct decide_sample *p = v->sample;
    uint64_t step = MIN_OF(sub_floor(v->usable, v->headroom) / 2, DECIDE_SHRINK_STEP_MAX);
    uint64_t rest = sub_floor(p->size, lowest_target(s, v));

    step = MIN_OF(step, wanted);
    if (rest <= step)
        return bytes_round_down(rest, p->block_size);
    /* Linux offlines whole memory blocks only. A part of one gives the host less and causes fragmentation. */
    return bytes_round_down(step, MIN_OF(p->memory_block_size, DECIDE_SHRINK_STEP_MAX));
}

/* The step (bytes) that keeps the peak of demand in the last window (µs), plus memory for another burst. */
static uint64_t find_small_step(const struct decide_state *s, const struct decide_view *v, uint64_t window)
{
    uint64_t peak = decide_peak(s, v, window);
    uint64_t kept = peak + v->headroom + MAX_OF(v->headroom / 2, MIN_OF(v->burst, SMALL_STEP_BURST_MAX));

    return limit_step(s, v, sub_floor(v->sample->meminfo.total, kept));
}

static uint64_t find_regular_step(const struct decide_state *s, const struct decide_view *v, uint64_t settle)
{
    uint64_t peak;

    if (!decide_settled_peak(s, v, settle, &peak))
        return 0;
    return limit_step(s, v, sub_floor(v->sample->meminfo.total, decide_total_to_keep(v, peak)));
}

static void commit_shrink(
        struct decide_state *s, const struct decide_view *v, struct decision *d, uint64_t bytes)
{
    d->action = DECIDE_SHRINK;
    d->bytes = bytes;
    s->last_shrink = v->now;
    s->shrinking = true;
    s->shrink_from = v->sample->size;
    s->shrink_target = v->sample->size - bytes;
    s->shrink_leaves = sub_floor(v->available, bytes);
    s->trend.last_available = s->shrink_leaves + decide_reserved(v->sample) + v->sample->meminfo.swap_free;
}

/* Shrinks to the size that the host asks for, or to a max size below the size. */
static bool shrink_on_request(struct decide_state *s, const struct decide_view *v, struct decision *d)
{
    uint64_t target = MIN_OF(v->sample->shrink_to, v->upper), bytes;

    if (target >= v->sample->size)
        return false;
    bytes = limit_step(s, v, v->sample->size - MAX_OF(v->lower, target));
    d->why = v->sample->shrink_to >= v->sample->size ? DECIDE_OVER_MAX : DECIDE_HOST_ASKED;
    if (bytes > 0)
        commit_shrink(s, v, d, bytes);
    else
        d->decline = d->why == DECIDE_HOST_ASKED;
    return true;
}

/* The step (bytes) that the quiet time so far allows; 0: none yet. */
static uint64_t find_settled_step(
        const struct decide_state *s, const struct decide_view *v, bool *ret_small_step)
{
    uint64_t settle = s->settle_usec * (v->sample->have_pressure ? 1 : NO_PRESSURE_SETTLE_FACTOR);
    uint64_t small_step_quiet = decide_small_step_usec(s, settle),
             quiet = v->now - MIN_OF(v->now, MAX_OF(s->began, s->last_grow));
    uint64_t bytes = 0;

    *ret_small_step = false;
    if (quiet < MAX_OF(decide_settle_min(settle), QUIET_ROUND_TRIPS * v->round_trip) ||
            (s->shrink_ended > 0 && v->now < s->shrink_ended + STEP_PAUSE_USEC))
        return 0;
    bytes = find_regular_step(s, v, settle);
    if (bytes > 0 || quiet < small_step_quiet)
        return bytes;
    *ret_small_step = true;
    return find_small_step(s, v, small_step_quiet);
}

/* Returns how much cold page cache to reclaim before a step, so that the kernel need not reclaim it during
 * the unplug. 0 while swap is in use: the reclaim could swap out anonymous memory. */
static uint64_t reclaim_before_step(struct decide_state *s, const struct decide_view *v, uint64_t step)
{
    const struct meminfo *m = &v->sample->meminfo;
    uint64_t missing = sub_floor(step + v->headroom / 4, m->free), bytes;

    if (m->swap_total > m->swap_free || s->squeezes >= SQUEEZE_TRIES)
        return 0;
    bytes = MIN_OF(MIN_OF(missing, m->inactive_file / 2), SQUEEZE_MAX);
    if (bytes < SQUEEZE_MIN)
        return 0;
    s->squeezes++;
    return bytes;
}

bool decide_shrink(struct decide_state *s, const struct decide_view *v, struct decision *d)
{
    const struct decide_sample *p = v->sample;
    uint64_t bytes;
    bool small_step;

    if (p->requested_size < p->size) {
        d->why = DECIDE_UNPLUGGING;
        return true;
    }
    if (p->requested_size > p->size) {
        d->why = DECIDE_PLUGGING;
        return true;
    }
    if (p->size == 0)
        return false;
    if (is_backing_off(s, v)) {
        d->why = DECIDE_BACK_OFF;
        return p->size >= p->memory_block_size;
    }
    if (shrink_on_request(s, v, d))
        return true;
    if (find_small_step(s, v, 0) == 0)
        return false;
    if (!is_calm(v)) {
        d->why = DECIDE_UNDER_PRESSURE;
        return true;
    }
    bytes = find_settled_step(s, v, &small_step);
    d->why = DECIDE_SETTLING;
    if (bytes == 0)
        return true;
    if (p->reclaiming || (d->reclaim = reclaim_before_step(s, v, bytes)) > 0) {
        d->why = DECIDE_SQUEEZING;
        return true;
    }
    d->why = DECIDE_SPARE;
    commit_shrink(s, v, d, bytes);
    if (small_step) {
        /* A grow soon after a small step delays the next small step, but does not double the settle time. */
        s->small_step_time = v->now;
        s->last_shrink = 0;
    }
    return true;
}
