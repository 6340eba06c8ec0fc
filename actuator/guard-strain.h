/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* How long a cgroup may wait at its line, pure. Time at a line counts as memory pressure, and systemd-oomd
 * kills a cgroup whose pressure stays above a limit for a duration (60 % for 30 s by default, distributions
 * set 50 % for 20 s). So the line is lifted when the cgroup has been under pressure for half of that. Not the
 * time since the last growth counts: small steps of growth do not lower the pressure. */

/* Below every limit that a distribution sets. */
#define GUARD_STRAIN_BEGIN 2000u
/* The kernel's average over 10 s falls to this 16 s after a full stall. */
#define GUARD_STRAIN_END 1000u

struct guard_strain {
    uint64_t since; /* µs; 0: not under pressure */
    bool lifted;    /* no line until the pressure is over */
};

/* Takes one reading of the pressure (some10, permyriad) and returns whether the line must be lifted. bound,
 * in µs, is how long the cgroup may wait; USEC_FOREVER where systemd-oomd does not run. */
bool guard_strain_step(struct guard_strain *s, uint32_t some10, uint64_t bound, uint64_t now);

/* Reads what systemd-oomd is configured to: half of the shortest duration in its files below etc ("/etc"),
 * run and lib; USEC_FOREVER when the daemon does not run. */
uint64_t guard_strain_bound(const char *const roots[], size_t n_roots, const char *runtime);
