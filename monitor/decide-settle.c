/* SPDX-License-Identifier: MIT */
/* The recent peaks of demand, and the settle time: how long memory must be spare before a shrink. */
#include "decide-internal.h"

#define SETTLE_FACTOR_MAX 4u
/* The settle time applies to this much spare memory; twice as much is given back after half of it. A deep
 * fall of demand ends a phase more often than a small one does, and waiting costs more memory: with the same
 * number of resizes, a recorded build took some 3 GiB·min less than with one settle time for all. */
#define SETTLE_SPARE MIB(700)
#define SETTLE_MIN_PART 2u
/* A small step needs four settle times, doubled for each recent small step that a grow followed soon. */
#define SMALL_STEP_SETTLES 4u
#define SMALL_STEP_FLAPS_MAX 4u
/* A grow within this many times the wait of a small step means that the step was too early: a slow leak needs
 * the memory again after a minute, and a grow leaves more than a small step keeps. */
#define SMALL_STEP_FLAP_WAITS 8u
/* A doubled settle time is halved after this many times its own length. */
#define SETTLE_KEPT 2u
/* Demand that returns soon after each halving is periodic: from the second time on, each doubles the time
 * until the next halving. */
#define HALVING_FLAPS_FREE 1u
#define HALVING_FLAPS_MAX 8u

static uint64_t slot_usec(const struct decide_view *v)
{
    return MAX_OF(v->config->settle_usec / DECIDE_PEAKS_PER_SETTLE, 1);
}

static void note_peak(struct decide_state *s, const struct decide_view *v)
{
    struct decide_peak *last = &s->peaks[s->peak_last];

    if (last->time > 0 && v->now >= last->time && v->now < last->time + slot_usec(v)) {
        last->demand = MAX_OF(last->demand, v->need);
        return;
    }
    s->peak_last = (s->peak_last + 1) % DECIDE_PEAKS;
    s->peaks[s->peak_last] = (struct decide_peak){ .time = v->now, .demand = v->need };
}

uint64_t decide_peak(const struct decide_state *s, const struct decide_view *v, uint64_t window)
{
    uint64_t since = sub_floor(v->now, window + slot_usec(v)), peak = v->need;

    for (uint32_t i = 0; i < DECIDE_PEAKS; i++) {
        const struct decide_peak *p = &s->peaks[(s->peak_last + DECIDE_PEAKS - i) % DECIDE_PEAKS];

        if (p->time == 0 || p->time < since || p->time > v->now)
            break;
        peak = MAX_OF(peak, p->demand);
    }
    return peak;
}

uint64_t decide_settle_min(uint64_t settle)
{
    return settle / SETTLE_MIN_PART;
}

bool decide_settled_peak(
        const struct decide_state *s, const struct decide_view *v, uint64_t settle, uint64_t *ret_peak)
{
    uint64_t peak = v->need;

    for (uint32_t i = 0; i < DECIDE_PEAKS; i++) {
        const struct decide_peak *p = &s->peaks[(s->peak_last + DECIDE_PEAKS - i) % DECIDE_PEAKS];
        uint64_t spare = sub_floor(v->sample->meminfo.total, decide_total_to_keep(v, peak)), window;

        if (p->time == 0 || p->time > v->now || spare < decide_min_spare(v))
            return false;
        window = sub_floor(v->now, p->time + slot_usec(v)); /* in which demand stayed within peak */
        if (window >= decide_settle_min(settle) &&
                spare / MIB(1) * window >= SETTLE_SPARE / MIB(1) * settle) {
            *ret_peak = peak;
            return true;
        }
        peak = MAX_OF(peak, p->demand);
    }
    return false;
}

/* Returns true when half the settle time would have given back memory that is needed now. It tests the
 * smallest peak of demand that half the settle time would have found settled. */
static bool half_would_flap(struct decide_state *s, const struct decide_view *v, uint64_t half)
{
    uint64_t peak;

    if (s->trial_since > 0 && v->now - s->trial_since > s->settle_usec)
        s->trial_since = 0;
    if (decide_settled_peak(s, v, half, &peak) && (s->trial_since == 0 || peak < s->trial_peak)) {
        s->trial_since = v->now;
        s->trial_peak = peak;
    }
    if (s->trial_since == 0 || v->need <= decide_total_to_keep(v, s->trial_peak))
        return false;
    s->trial_since = 0;
    return true;
}

/* Takes the demand of a sample, and halves a doubled settle time when it is no longer needed. While memory is
 * being plugged or unplugged the kernel's counters do not change together, so the demand is ignored. */
void decide_follow_settle(struct decide_state *s, const struct decide_view *v, bool steady)
{
    uint64_t base = v->config->settle_usec, half = MAX_OF(base, s->settle_usec / 2);

    if (s->began == 0 || v->now < s->began)
        s->began = v->now;
    if (steady)
        note_peak(s, v);
    if (s->settle_usec <= base)
        return;
    if (half_would_flap(s, v, half))
        s->settle_since = v->now;
    else if (v->now >= s->settle_since + (SETTLE_KEPT * s->settle_usec
                                                 << sub_floor(s->halving_flaps, HALVING_FLAPS_FREE))) {
        s->settle_usec = half;
        s->halved = v->now;
        s->settle_since = v->now;
        s->trial_since = 0;
    }
}

uint64_t decide_small_step_usec(const struct decide_state *s, uint64_t settle)
{
    return SMALL_STEP_SETTLES * settle << s->small_step_flaps;
}

/* After a grow within a settle time of the last shrink (a flap), doubles the settle time. The peaks of the
 * longer time then limit what a shrink may give back. */
void decide_note_flap(struct decide_state *s, const struct decide_view *v)
{
    if (s->small_step_time > 0) {
        bool flap = v->now <=
                    s->small_step_time + SMALL_STEP_FLAP_WAITS * decide_small_step_usec(s, s->settle_usec);

        s->small_step_flaps =
                flap ? MIN_OF(s->small_step_flaps + 1, SMALL_STEP_FLAPS_MAX) : s->small_step_flaps / 2;
        s->small_step_time = 0;
    }
    if (s->last_shrink == 0)
        return;
    if (v->now > s->last_shrink + s->settle_usec) {
        /* The host could use the memory meanwhile, so this is no flap, and a doubled time is not needed. */
        s->settle_usec = MAX_OF(s->settle_usec / 2, v->config->settle_usec);
        s->last_shrink = 0;
        return;
    }
    if (s->halved > 0)
        s->halving_flaps = v->now <= s->halved + 4 * s->settle_usec
                                   ? MIN_OF(s->halving_flaps + 1, HALVING_FLAPS_MAX)
                                   : s->halving_flaps / 2;
    s->halved = 0;
    s->settle_usec = MIN_OF(s->settle_usec * 2, v->config->settle_usec * SETTLE_FACTOR_MAX);
    s->settle_since = v->now;
    s->trial_since = 0;
    s->last_shrink = 0; /* a shrink counts as one flap at most */
}
