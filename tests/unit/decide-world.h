/* SPDX-License-Identifier: MIT */
#pragma once

#include "unit.h"

#include "decide.h"

/* A simulated guest with 1 GiB of boot memory and a device of 8 GiB. */
struct world {
    struct decide_config config;
    struct decide_state state;
    struct decide_sample sample;
    struct decision decision;
    uint64_t now;
};

void world_init(struct world *w);
/* Advances the clock, makes one decision and clears the events. */
const struct decision *step(struct world *w, uint64_t after_usec);
void set_available(struct world *w, uint64_t available);
void set_size(struct world *w, uint64_t size);
/* Applies the decision at once, as a host that grants and a guest that plugs without delay. */
void apply(struct world *w);
/* Steps at the intervals that the decision asks for. Returns true at the action, false after usec. */
bool run_until(struct world *w, enum decide_action action, uint64_t usec);

/* A situation: what changes after a first, quiet sample, and the expected decision. */
struct situation {
    const char *name;
    void (*set)(struct world *w);
    enum decide_action action;
    enum decide_why why;
    enum channel_level level;
};

/* Fails and names the situations that cause another decision. */
void check_situations(const struct situation *situations, size_t n);
