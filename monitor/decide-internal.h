/* SPDX-License-Identifier: MIT */
#pragma once

#include "decide.h"
#include "headroom.h"

/* The kernel accounts the last pages of an unplug up to this long after its end. */
#define DECIDE_AFTERMATH_USEC (500 * USEC_PER_MSEC)

/* The inputs of one step and the values derived from them, shared by the parts of the decision. */
struct decide_view {
    const struct decide_config *config;
    const struct decide_sample *sample;
    uint64_t now;
    uint64_t available;
    uint64_t usable; /* available, without what the kernel zones must keep for the kernel */
    uint64_t demand; /* memory in use: all that is not usable, plus swapped-out memory */
    uint64_t need;   /* demand, plus what tasks take during a long round trip */
    uint64_t burst;  /* what a burst takes in a round trip, at the rate of recent bursts */
    uint64_t headroom;
    uint64_t lower; /* smallest and largest size allowed now */
    uint64_t upper;
    uint64_t standing; /* size that stays plugged, so that the kernel can keep its reserve */
    uint64_t reserve;  /* what the kernel zones must keep for the kernel */
    uint64_t pending;  /* granted, not plugged yet */
    uint64_t coming;   /* the part of pending that the driver is still expected to plug */
    uint64_t rate;
    uint64_t round_trip;
    uint64_t interval; /* µs to the next sample, unless the decision requires an earlier one */
    uint64_t projected;
    uint64_t uncovered; /* consumption of a round trip beyond usable + coming */
    uint64_t refault_rate;
    uint32_t pressure10;
    uint32_t pressure60;
    bool event; /* a trigger fired and the growth of total= confirms it */
};

/* Each fills action, why and bytes of *d and returns true, or returns false without a decision. */
bool decide_grow(struct decide_state *s, const struct decide_view *v, struct decision *d);
bool decide_shrink(struct decide_state *s, const struct decide_view *v, struct decision *d);

/* The kernel's own reserve (lowmem_reserve), which MemAvailable does not contain; bytes. */
uint64_t decide_reserved(const struct decide_sample *p);

/* The pending bytes, or 0 when the driver has plugged no block for so long that it must have failed. */
uint64_t decide_coming(const struct decide_state *s, const struct decide_view *v);

/* Each updates the state of a change under way, before the decision. */
void decide_follow_grow(struct decide_state *s, const struct decide_view *v);
void decide_follow_shrink(struct decide_state *s, const struct decide_view *v);

void decide_follow_settle(struct decide_state *s, const struct decide_view *v, bool steady);

/* Called for each grow: adapts the settle time to how soon the grow follows a shrink. */
void decide_note_flap(struct decide_state *s, const struct decide_view *v);

/* Finds the peak of demand above which memory has been spare for long enough; the more memory is spare, the
 * shorter this time. Returns false when there is none. */
bool decide_settled_peak(
        const struct decide_state *s, const struct decide_view *v, uint64_t settle, uint64_t *ret_peak);

/* The minimum quiet time (µs), however much memory is spare. */
uint64_t decide_settle_min(uint64_t settle);

/* The quiet time (µs) before a small step, which is one with less spare memory than decide_min_spare(). */
uint64_t decide_small_step_usec(const struct decide_state *s, uint64_t settle);

/* The largest demand in the last window (µs), including this sample. */
uint64_t decide_peak(const struct decide_state *s, const struct decide_view *v, uint64_t window);

/* The MemTotal to keep for a peak of demand. */
uint64_t decide_total_to_keep(const struct decide_view *v, uint64_t peak);
/* A regular step needs this much spare memory above what decide_total_to_keep() returns. */
uint64_t decide_min_spare(const struct decide_view *v);
