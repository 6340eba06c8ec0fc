/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>

#include "policies.h"

struct replay_options {
    struct model_options model;
    int policy;  /* enum policy */
    int profile; /* enum decide_profile */
};

/* What is kept for files: the state of one moment. */
struct replay_point {
    uint64_t time;
    uint64_t used; /* as recorded */
    uint64_t cached;
    uint64_t held; /* boot memory and size */
    uint64_t requested;
    uint64_t available;
    uint64_t waiting; /* of used, at the guard's line */
};

struct replay_result {
    unsigned __int128 footprint; /* bytes x µs */
    uint64_t shortfall_usec;
    uint64_t shortfall_max;
    uint64_t held_usec; /* demand waited at the guard's line */
    uint64_t held_max;  /* the longest time without a break, µs */
    uint64_t grows;
    uint64_t shrinks;
    uint64_t peak;
    uint64_t idle_bytes; /* 150 s after the last moment at which half of the largest demand was used */
    GArray *step_nsec;   /* uint32_t each */
    GArray *points;      /* struct replay_point, one a second */
};

/* Runs a recording from its first row to its last. */
void replay_run(const struct replay_options *o, const struct trace *t, struct replay_result *ret);
void replay_clear(struct replay_result *r);
