/* SPDX-License-Identifier: MIT */
#pragma once

#include "decide.h"

/* Decides when to warn programs that memory is short and that no plug will help. Pure. */

/* The levels of low-memory-monitor and GMemoryMonitor. LOW: free memory that can be allocated again later.
 * MEDIUM: free more, or exit. CRITICAL: the kernel will soon OOM-kill processes. */
enum low_memory_level {
    LOW_MEMORY_NONE = 0,
    LOW_MEMORY_LOW = 50,
    LOW_MEMORY_MEDIUM = 100,
    LOW_MEMORY_CRITICAL = 255,
};

/* The interval at which low-memory-monitor repeats a warning. */
#define LOW_MEMORY_REPEAT_USEC (15 * USEC_PER_SEC)

struct low_memory {
    enum low_memory_level warned;
    uint64_t warned_at; /* µs; 0: never */
};

/* The level of a decision. refused: the outcome of the last refused grow. */
enum low_memory_level low_memory_level(const struct decision *d, enum decide_outcome refused);

/* Returns the level of the warning that is due at now (µs, monotonic), and counts it as sent. A warning is
 * due at once when the level has risen since the last one, else every 15 s. LOW_MEMORY_NONE: none is due. */
enum low_memory_level low_memory_step(
        struct low_memory *s, const struct decision *d, enum decide_outcome refused, uint64_t now);

const char *low_memory_level_to_string(enum low_memory_level level);
