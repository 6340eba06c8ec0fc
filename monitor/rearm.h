/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* When the actuator's guard is to be told again where it stands, pure. */

/* The guard fails open after 5 s of silence: two calls may get lost. */
#define REARM_USEC (2 * USEC_PER_SEC)
/* A call costs both daemons some milliseconds under TCG, and a surge that crosses a line is seen without one.
 */
#define REARM_MIN_USEC (500 * USEC_PER_MSEC)

struct rearm {
    uint64_t time; /* of the last call, µs; 0: none yet */
    uint64_t headroom;
    uint64_t available;
    uint64_t total;
};

/* True when ArmGuard(headroom) is due at now (µs, monotonic); it counts as called then. headroom 0 disarms,
 * once. Available and total are what the guest has: when they moved by a quarter of the headroom, so has the
 * line. */
bool rearm_due(struct rearm *r, uint64_t headroom, uint64_t available, uint64_t total, uint64_t now);

/* The actuator has gone, and knows of nothing. */
void rearm_forget(struct rearm *r);
