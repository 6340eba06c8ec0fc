/* SPDX-License-Identifier: MIT */
#pragma once

#include "decide.h"

/* What a grow leaves above the headroom, so that the next one is not due at once, and a shrink too. */
#define DECIDE_SLACK MIB(512)

/* The last pages of an unplug are accounted a little after it. */
#define DECIDE_AFTERMATH_USEC (500 * USEC_PER_MSEC)

/* One step's inputs and what follows from them at once; shared by the parts of the decision. */
struct decide_view {
    const struct decide_config *config;
    const struct decide_sample *sample;
    uint64_t now;
    uint64_t available;
    uint64_t usable; /* available, without what the kernel zones are to keep for the kernel */
    uint64_t demand; /* in use: what is not usable, and what has been swapped out */
    uint64_t need;   /* demand, and what would go while memory is slow to come */
    uint64_t burst;  /* what a burst as of late takes in a round trip */
    uint64_t headroom;
    uint64_t lower; /* smallest and largest size allowed now */
    uint64_t upper;
    uint64_t standing; /* stays plugged, so that the kernel can keep its reserve */
    uint64_t reserve;  /* what the kernel zones are to keep for the kernel */
    uint64_t pending;  /* granted, not plugged yet */
    uint64_t coming;   /* of that, what the driver is still expected to plug */
    uint64_t rate;
    uint64_t round_trip;
    uint64_t interval; /* when the next sample would be due if nothing else asks for one */
    uint64_t projected;
    uint64_t overdraft; /* what held tasks will take beyond what is usable and coming */
    uint64_t refault_rate;
    uint32_t pressure10;
    uint32_t pressure60;
    bool event; /* a pressure event that the growth of total= confirms */
};

/* Each fills action, why and bytes; false: nothing of this kind to say, ask the next. */
bool decide_grow(struct decide_state *s, const struct decide_view *v, struct decision *d);
bool decide_shrink(struct decide_state *s, const struct decide_view *v, struct decision *d);

/* What the kernel holds back of MemAvailable for itself, by lowmem_reserve. */
uint64_t decide_reserved(const struct decide_sample *p);

/* What is pending, or 0 when no block of it was plugged for so long that the driver must have failed. */
uint64_t decide_coming(const struct decide_state *s, const struct decide_view *v);

/* Bookkeeping of changes under way, before the decision. */
void decide_follow_grow(struct decide_state *s, const struct decide_view *v);
void decide_follow_shrink(struct decide_state *s, const struct decide_view *v);

void decide_follow_settle(struct decide_state *s, const struct decide_view *v, bool steady);

/* A grow was decided: was it a flap? */
void decide_note_flap(struct decide_state *s, const struct decide_view *v);

/* The peak of demand above which memory has been spare for long enough, which is the shorter the more is
 * spare; false: none has. */
bool decide_settled_peak(
        const struct decide_state *s, const struct decide_view *v, uint64_t settle, uint64_t *ret_peak);

/* The least time for which it has to be quiet, whatever is spare. */
uint64_t decide_settle_least(uint64_t settle);

/* How long it has to be quiet for less than a step that is worth its trouble. */
uint64_t decide_crumbs_usec(const struct decide_state *s, uint64_t settle);

/* The largest demand of the last window (µs), now included. */
uint64_t decide_peak(const struct decide_state *s, const struct decide_view *v, uint64_t window);

/* The MemTotal to keep for a demand. */
uint64_t decide_keep(const struct decide_view *v, uint64_t peak);
/* What has to be spare above that for a step to be worth it. */
uint64_t decide_worth(const struct decide_view *v);
