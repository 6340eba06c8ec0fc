/* SPDX-License-Identifier: MIT */
#pragma once

#include "decide.h"

/* When programs are to be warned that memory is short and no more is to be had, pure. */

/* low-memory-monitor's, and GMemoryMonitor's: free what can be had again; try harder, or end; or the kernel
 * soon ends somebody. */
enum low_memory_level {
    LOW_MEMORY_NONE = 0,
    LOW_MEMORY_LOW = 50,
    LOW_MEMORY_MEDIUM = 100,
    LOW_MEMORY_CRITICAL = 255,
};

/* As often as low-memory-monitor repeats itself. */
#define LOW_MEMORY_REPEAT_USEC (15 * USEC_PER_SEC)

struct low_memory {
    enum low_memory_level said;
    uint64_t said_at; /* µs; 0: never */
};

/* What the decision amounts to. refused is how the last refusal went, if it was made for one. */
enum low_memory_level low_memory_level(const struct decision *d, enum decide_outcome refused);

/* The level to warn of at now (µs, monotonic), which counts as done then: at once when it has risen since the
 * last warning, else every 15 s. LOW_MEMORY_NONE: no warning is due. */
enum low_memory_level low_memory_step(
        struct low_memory *s, const struct decision *d, enum decide_outcome refused, uint64_t now);

const char *low_memory_level_to_string(enum low_memory_level level);
