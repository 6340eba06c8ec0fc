/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* Rates and sums over the samples of the last minute. Pure; times are µs of one monotonic clock. */

#define TREND_SLOTS 64u
#define TREND_SLOT_USEC USEC_PER_SEC

struct trend_slot {
    uint64_t time;
    uint64_t stall;   /* PSI some total without that of the monitor's own unplugs, µs */
    uint64_t refault; /* refaulted bytes since boot */
};

struct trend {
    struct trend_slot slots[TREND_SLOTS]; /* ring, at most one per second, the oldest is overwritten */
    uint32_t next;
    uint32_t count;

    uint64_t last_time;
    uint64_t last_available;
    uint64_t last_total;
    uint64_t rate; /* bytes per second at which available falls, without plugged memory; decays */

    uint64_t raw_stall; /* last PSI total as read */
    uint64_t stall;     /* sum of its growth outside of the monitor's own unplugs */
    bool have_stall;
    uint64_t refault;
};

/* How the size of the guest changes at a reading. */
enum trend_change {
    TREND_STEADY,
    TREND_PLUGGING,
    TREND_UNPLUGGING,
    TREND_STEPPING, /* unplugging, and available is passed without the step: a fall is consumption */
    _TREND_CHANGE_MAX,
    _TREND_CHANGE_INVALID = -EINVAL,
};

/* Takes one meminfo reading. Returns false and resets the rate when the clock went back. During a plug
 * MemTotal rises before MemAvailable, and during an unplug MemAvailable falls before MemTotal (seen: 2.4 GB/s
 * of "consumption" in an idle guest), so only certain consumption counts: a fall during a plug, nothing
 * during an unplug. A reading too soon after the last one leaves the rate unchanged. The rate is limited to
 * most (bytes per second). */
bool trend_memory(struct trend *t, uint64_t now, uint64_t available, uint64_t total, enum trend_change change,
        uint64_t most);

/* Takes a PSI total (µs) and returns the counted growth. own: an unplug of the monitor's is under way or just
 * over; its stall does not count. After a total that went back, growth counts from the new total. */
uint64_t trend_stall(struct trend *t, uint64_t total, bool own);
void trend_refault(struct trend *t, uint64_t bytes);

/* Ends the sample: stores a slot when the last one is a second old. */
void trend_commit(struct trend *t, uint64_t now);

/* Share of time stalled in the last window (permyriad), from differences of total=, since the kernel's
 * averages decay slowly after a surge. With less history than the window, the stall of the history is divided
 * by the whole window. */
uint32_t trend_pressure(const struct trend *t, uint64_t now, uint64_t window);
/* Refaulted bytes per second in the last window. */
uint64_t trend_refault_rate(const struct trend *t, uint64_t now, uint64_t window);
