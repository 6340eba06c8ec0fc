/* SPDX-License-Identifier: MIT */
#pragma once

#include <jansson.h>

#include "macro.h"

/* How many decisions are asked for: enough for the last act to be among them. */
#define STATE_DECISIONS 16u

/* What the daemons say of themselves, as --json prints it: "Actuator1" and "Monitor1" are the properties by
 * their names or null when the daemon does not run, "Reservations" and "Decisions" are arrays of objects.
 * Numbers that do not fit a signed integer stand for "none" on the bus and are null. */
struct ctl_state {
    bool actuator; /* it runs */
    bool monitor;
    uint64_t size, requested_size, boot_size, min_size, max_size, host_min_size, host_max_size; /* bytes */
    uint64_t guard_headroom, reserved_bytes, available, headroom;
    uint64_t paused_until; /* CLOCK_REALTIME µs; UINT64_MAX: until resumed */
    uint32_t some10;       /* permyriad */
    bool guard_held, host_connected;
    const char *state, *version, *last_error, *mode, *level, *pause_reason; /* never NULL */
    const json_t *reservations, *decisions;                                 /* NULL: none */
};

/* Fields that are missing or of another type are empty: the daemons may be of another version. What *ret
 * points to stays root's. */
void state_read(const json_t *root, struct ctl_state *ret);

/* Same for a member of any object: null is UINT64_MAX, missing is 0 or "". */
uint64_t state_number(const json_t *object, const char *key);
const char *state_text(const json_t *object, const char *key);
