/* SPDX-License-Identifier: MIT */
#include "decide-internal.h"

/* Calm: stalled less than 1 % of the last 10 s and 2 % of the last minute, and the last 10 s no worse than
 * the minute. */
#define CALM_PRESSURE10 100u
#define CALM_PRESSURE60 200u
#define CALM_RISING 50u
#define CALM_REFAULT_RATE MIB(4)

/* Between the end of a step and the next one: available has to show what the step cost. */
#define STEP_PAUSE_USEC USEC_PER_SEC

/* A grow this soon after a shrink is a flap. */
#define FLAP_USEC (60 * USEC_PER_SEC)
#define SETTLE_FACTOR_MAX 16u
/* The floor is gone after this many settle times. */
#define FLOOR_DECAY_SETTLES 8u
#define BACK_OFF_MIN_USEC (60 * USEC_PER_SEC)
#define BACK_OFF_MAX_USEC (3600 * USEC_PER_SEC)

/* Without pressure to look at, what is left has to be quiet for longer. */
#define BLIND_SETTLE_FACTOR 4u

static void shrink_got_stuck(struct decide_state *s, uint64_t now)
{
    s->back_off_usec =
            s->back_off_usec == 0 ? BACK_OFF_MIN_USEC : MIN_OF(s->back_off_usec * 2, BACK_OFF_MAX_USEC);
    s->back_off_until = now + s->back_off_usec;
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
    /* The host ends a stuck shrink by setting the requested size back to the size. */
    if (p->size > s->shrink_target)
        shrink_got_stuck(s, v->now);
    else
        s->back_off_usec = 0;
}

void decide_note_flap(struct decide_state *s, const struct decide_view *v, uint64_t new_size)
{
    if (s->last_shrink == 0 || v->now > s->last_shrink + MAX_OF(FLAP_USEC, 2 * s->settle_usec))
        return;
    s->settle_usec = MIN_OF(s->settle_usec * 2, v->config->settle_usec * SETTLE_FACTOR_MAX);
    s->floor = MIN_OF(MAX_OF(new_size, s->shrink_from), v->upper);
    s->floor_since = v->now;
    s->last_shrink = 0; /* one shrink is one flap at most */
}

/* The size that a flap proved to be needed, fading to nothing, in whole memory blocks. */
static uint64_t floor_now(struct decide_state *s, const struct decide_view *v)
{
    uint64_t now = v->now, decay = s->settle_usec * FLOOR_DECAY_SETTLES, floor;
    uint64_t age = sub_floor(now, s->floor_since);

    if (s->floor == 0)
        return 0;
    if (age >= decay) {
        s->floor = 0;
        s->settle_usec = v->config->settle_usec;
        return 0;
    }
    floor = s->floor / decay * (decay - age);
    return bytes_round_up(floor, v->sample->memory_block_size, &floor) < 0 ? s->floor : floor;
}

static bool calm(const struct decide_view *v)
{
    if (v->sample->have_pressure && (v->pressure10 >= CALM_PRESSURE10 || v->pressure60 >= CALM_PRESSURE60 ||
                                            v->pressure10 > v->pressure60 + CALM_RISING))
        return false;
    return !v->sample->have_vmstat || v->refault_rate < CALM_REFAULT_RATE;
}

/* The largest step that leaves the headroom and the step once more: a size below what is in use does not get
 * stuck, it gets somebody killed. */
static uint64_t step_possible(const struct decide_view *v, uint64_t lower)
{
    const struct decide_sample *p = v->sample;
    uint64_t step = MIN_OF(sub_floor(v->available, v->headroom) / 2, DECIDE_SHRINK_STEP_MAX);
    uint64_t rest = sub_floor(p->size, lower);

    if (rest <= step)
        return bytes_round_down(rest, p->block_size);
    /* A part of a memory block cannot be offlined, so it gives the host less and costs fragmentation: whole
     * ones. */
    return bytes_round_down(step, MIN_OF(p->memory_block_size, DECIDE_SHRINK_STEP_MAX));
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
}

static bool shrink_for_host(struct decide_state *s, const struct decide_view *v, struct decision *d)
{
    uint64_t lower = MAX_OF(v->lower, v->sample->shrink_to);
    uint64_t bytes = step_possible(v, lower);

    if (v->sample->shrink_to >= v->sample->size)
        return false;
    d->why = DECIDE_HOST_ASKED;
    if (bytes == 0)
        d->decline = true;
    else
        commit_shrink(s, v, d, bytes);
    return true;
}

static bool settled(struct decide_state *s, const struct decide_view *v, struct decision *d)
{
    uint64_t settle = s->settle_usec * (v->sample->have_pressure ? 1 : BLIND_SETTLE_FACTOR);

    if (!calm(v)) {
        s->quiet_since = 0;
        d->why = DECIDE_UNDER_PRESSURE;
        return false;
    }
    if (s->quiet_since == 0)
        s->quiet_since = v->now;
    if (v->now < s->quiet_since + settle ||
            (s->shrink_ended > 0 && v->now < s->shrink_ended + STEP_PAUSE_USEC)) {
        d->why = DECIDE_SETTLING;
        return false;
    }
    return true;
}

bool decide_shrink(struct decide_state *s, const struct decide_view *v, struct decision *d)
{
    const struct decide_sample *p = v->sample;
    uint64_t lower, bytes;

    if (p->requested_size < p->size) {
        d->why = DECIDE_UNPLUGGING;
        return true;
    }
    if (p->requested_size > p->size) {
        d->why = DECIDE_PLUGGING;
        return true;
    }
    lower = MAX_OF(v->lower, floor_now(s, v));
    if (p->size == 0)
        return false;
    if (v->now < s->back_off_until) {
        d->why = DECIDE_BACK_OFF;
        return true;
    }
    if (shrink_for_host(s, v, d))
        return true;
    bytes = step_possible(v, lower);
    if (bytes == 0) {
        s->quiet_since = 0;
        return false;
    }
    d->why = DECIDE_SPARE;
    if (settled(s, v, d))
        commit_shrink(s, v, d, bytes);
    return true;
}
