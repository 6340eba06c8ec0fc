/* SPDX-License-Identifier: MIT */
#pragma once

#include "unit.h"

#include "decide.h"

/* A guest of 1 GiB boot memory with a device of 8 GiB, driven step by step. */
struct world {
    struct decide_config config;
    struct decide_state state;
    struct decide_sample sample;
    struct decision decision;
    uint64_t now;
};

void world_init(struct world *w);
/* One step after so many µs; events do not outlive it. */
const struct decision *step(struct world *w, uint64_t after_usec);
void set_available(struct world *w, uint64_t available);
void set_size(struct world *w, uint64_t size);
/* What a host does that grants at once and a guest that plugs at once. */
void apply(struct world *w);
/* Steps as long as the decision itself asks for, until the action comes or the time is over. */
bool run_until(struct world *w, enum decide_action action, uint64_t usec);

/* One situation after a first, quiet sample: what is set, what must come of it. */
struct situation {
    const char *name;
    void (*set)(struct world *w);
    enum decide_action action;
    enum decide_why why;
    enum channel_level level;
};

/* Fails with the names of those from which something else comes. */
void check_situations(const struct situation *situations, size_t n);
