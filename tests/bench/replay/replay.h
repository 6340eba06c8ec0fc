/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>

#include "policies.h"

struct replay_options {
    struct model_options model;
    int policy;  /* enum policy */
    int profile; /* enum decide_profile */
};

/* The state at one moment, for the CSV and SVG files. */
struct replay_point {
    uint64_t time;
    uint64_t used; /* as recorded */
    uint64_t cached;
    uint64_t held; /* boot memory + size */
    uint64_t requested;
    uint64_t available;
    uint64_t waiting; /* part of used that waits at the guard's line */
};

struct replay_result {
    unsigned __int128 footprint; /* bytes x µs */
    uint64_t shortfall_usec;
    uint64_t shortfall_max;
    uint64_t held_usec; /* time that demand waited at the guard's line */
    uint64_t held_max;  /* the longest of these waits, µs */
    uint64_t grows;
    uint64_t shrinks;
    uint64_t peak;
    uint64_t idle_bytes; /* held 150 s after the last moment with at least half of the peak demand */
    GArray *step_nsec;   /* uint32_t each */
    GArray *points;      /* struct replay_point, one per second */
};

/* Runs a recording from its first row to its last. */
void replay_run(const struct replay_options *o, const struct trace *t, struct replay_result *ret);
void replay_clear(struct replay_result *r);
