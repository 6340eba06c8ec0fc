/* SPDX-License-Identifier: MIT */
/* A VM among others: what it claims, what it could give back, and how often it is asked to. */
#include "bytes.h"
#include "vm-internal.h"

/* Guests say their stats every 10 s: what is older than two of them is no ground to ask on. */
#define STATS_FRESH_USEC (25 * USEC_PER_SEC)
/* A guest that was told of room asks again within a second: its claim holds that long after. */
#define CLAIM_KEPT_USEC (2 * USEC_PER_SEC)
/* A guest gives back in steps and answers at once when it will not. */
#define ASK_AGAIN_USEC (10 * USEC_PER_SEC)
#define BACK_OFF_MAX_USEC (600 * USEC_PER_SEC)
/* What was given back and is wanted again this soon had better not been asked for. */
#define REGRET_USEC (60 * USEC_PER_SEC)

void vm_share_claim(struct vm_state *s, uint64_t missing)
{
    s->claim = missing;
    s->claim_until = USEC_FOREVER;
}

void vm_share_told_room(struct vm_state *s, uint64_t now)
{
    s->claim_until = now + CLAIM_KEPT_USEC;
}

void vm_share_forget(struct vm_state *s)
{
    s->claim = 0;
    s->shrink_id = 0;
}

static void back_off(struct vm_state *s, uint64_t now)
{
    s->spare_back_off = CLAMP_TO(s->spare_back_off * 2, ASK_AGAIN_USEC, BACK_OFF_MAX_USEC);
    s->spare_at = now + s->spare_back_off;
}

void vm_share_declined(struct vm_state *s, uint64_t now)
{
    back_off(s, now);
}

/* A request was decided: the guest now has requested, and had was. */
void vm_share_moved(struct vm_state *s, uint64_t was, uint64_t requested, uint64_t now)
{
    if (requested > was) {
        s->claim = 0;
        if (s->spare_given > 0 && now < s->spare_given + REGRET_USEC)
            back_off(s, now);
        s->spare_given = 0;
    } else if (requested < was && s->spare_asked) {
        s->spare_given = now;
        s->spare_asked = requested > s->shrink_size;
        if (!s->spare_asked)
            s->spare_at = now; /* and may be asked for more */
        if (!s->spare_asked)
            s->shrink_id = 0;
    }
}

static uint64_t claim_of(const struct vm_state *s, uint64_t now)
{
    uint64_t wanted = s->queue_len > 0 ? s->queue[s->queue_first].size : 0;

    if (!s->known)
        return 0;
    /* What is committed may be more than a max size that was lowered since. */
    if (wanted > vm_state_committed(s))
        return sub_floor(MIN_OF(wanted, vm_state_limits(s).max_size), vm_state_committed(s));
    return now < s->claim_until ? s->claim : 0;
}

static bool is_fresh(const struct vm_state *s, uint64_t now)
{
    return s->stats.time > 0 && now < s->stats.time + STATS_FRESH_USEC;
}

static bool may_be_asked(const struct vm_state *s, uint64_t now)
{
    return s->known && s->welcomed && !s->job.active && !vm_life_holds(s) && now >= s->spare_at &&
           vm_state_size(s) == vm_state_requested(s) && is_fresh(s, now) &&
           (s->stats.level == CHANNEL_LEVEL_NORMAL || s->stats.level == CHANNEL_LEVEL_SETTLING);
}

void vm_state_share(const struct vm_state *s, uint64_t now, struct share_vm *ret)
{
    *ret = (struct share_vm){
        .weight = s->settings.weight,
        .committed = vm_state_committed(s),
        .claim = claim_of(s, now),
        .coming = sub_floor(vm_state_size(s), vm_state_requested(s)) +
                  (s->spare_asked && s->shrink_id != 0 && now < s->spare_at
                                  ? sub_floor(vm_state_requested(s), s->shrink_size)
                                  : 0),
        .urgent = is_fresh(s, now) && s->stats.level == CHANNEL_LEVEL_CRITICAL,
    };
    if (ret->claim == 0 && may_be_asked(s, now))
        ret->spare = share_spare(
                s->stats.available, s->stats.total, vm_state_requested(s), vm_state_limits(s).min_size);
}

int vm_state_ask_spare(struct vm_state *s, uint64_t bytes, uint64_t now)
{
    uint64_t requested = vm_state_requested(s);

    /* It did not even answer. */
    if (s->spare_asked && s->shrink_id != 0)
        back_off(s, now);
    else if (s->spare_given > 0 && now >= s->spare_given + REGRET_USEC)
        s->spare_back_off = 0;
    s->spare_at = now + MAX_OF(s->spare_back_off, ASK_AGAIN_USEC);
    s->spare_asked = true;
    return vm_state_ask_shrink(s, sub_floor(requested, bytes), "other VMs need memory");
}
