/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* What the samples of the last minute say together. Pure; times in µs of one monotonic clock. */

#define TREND_SLOTS 64u
#define TREND_SLOT_USEC USEC_PER_SEC

struct trend_slot {
    uint64_t time;
    uint64_t stall;   /* PSI some total without our own unplugs', µs */
    uint64_t refault; /* refaulted bytes since boot */
};

struct trend {
    struct trend_slot slots[TREND_SLOTS]; /* ring, one a second at most, oldest overwritten */
    uint32_t next;
    uint32_t count;

    uint64_t last_time;
    uint64_t last_available;
    uint64_t last_total;
    uint64_t rate; /* bytes a second at which available falls, plugged memory not counted; decays */

    uint64_t raw_stall; /* last PSI total as read */
    uint64_t stall;     /* sum of its growth outside of our own unplugs */
    bool have_stall;
    uint64_t refault;
};

/* What the size of the guest does while a reading is taken. */
enum trend_change {
    TREND_STEADY,
    TREND_PLUGGING,
    TREND_UNPLUGGING,
    TREND_STEPPING, /* unplugging, and available is given without what the step takes: a fall is one */
    _TREND_CHANGE_MAX,
    _TREND_CHANGE_INVALID = -EINVAL,
};

/* Takes one meminfo reading. A step back of the clock forgets the rate and returns false. While memory is
 * plugged MemTotal rises before MemAvailable does, and while it is unplugged MemAvailable falls first
 * (seen: 2.4 GB/s of "consumption" in an idle guest), so of a change only what is certain counts: a fall
 * while plugging, nothing while unplugging. A reading too soon after the last one leaves the rate as it is.
 * A rate above most (bytes a second) is taken for most.
 */
bool trend_memory(struct trend *t, uint64_t now, uint64_t available, uint64_t total, enum trend_change change,
        uint64_t most);

/* Takes a PSI total; own: an unplug of ours is under way or just over, its stall is not the workload's.
 * Returns the growth that was counted. A total that goes back starts afresh. */
uint64_t trend_stall(struct trend *t, uint64_t total, bool own);
void trend_refault(struct trend *t, uint64_t bytes);

/* Closes the sample: remembers a slot when the last one is a second old. */
void trend_commit(struct trend *t, uint64_t now);

/* Share of time stalled over the last window (permyriad), from differences of total=: the kernel's averages
 * decay slowly after a surge. With less history than the window, what there is counts over the whole window.
 */
uint32_t trend_pressure(const struct trend *t, uint64_t now, uint64_t window);
/* Refaulted bytes a second over the last window. */
uint64_t trend_refault_rate(const struct trend *t, uint64_t now, uint64_t window);
