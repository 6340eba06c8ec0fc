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
    uint64_t used;
    uint64_t cached;
    uint64_t held; /* boot memory and size */
    uint64_t requested;
    uint64_t available;
};

struct replay_result {
    unsigned __int128 footprint; /* bytes x µs */
    uint64_t shortfall_usec;
    uint64_t shortfall_max;
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
