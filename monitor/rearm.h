/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* Decides when to call ArmGuard again. Pure. */

/* The guard disarms itself after 5 s without a call, so one call may get lost. */
#define REARM_USEC (2 * USEC_PER_SEC)
/* A call costs both daemons some milliseconds under TCG. The guard notices a surge that crosses a line
 * without a call. */
#define REARM_MIN_USEC (500 * USEC_PER_MSEC)

struct rearm {
    uint64_t time; /* of the last call, µs; 0: none yet */
    uint64_t headroom;
    uint64_t available;
    uint64_t total;
};

/* Returns true when ArmGuard(headroom) is due at now (µs, monotonic), and then counts it as called. headroom
 * 0 disarms, which is due once. A call is also due when available or total (the guest's) changed by a quarter
 * of the headroom, since the line has then moved as much. */
bool rearm_due(struct rearm *r, uint64_t headroom, uint64_t available, uint64_t total, uint64_t now);

/* The actuator has disconnected: forgets the last call. */
void rearm_forget(struct rearm *r);
