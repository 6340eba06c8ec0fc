/* SPDX-License-Identifier: MIT */
#include "low-memory.h"

/* The guest cannot get memory. A refusal by the actuator's rate limit does not count: it lasts 200 ms. */
static bool cannot_get_memory(const struct decision *d, enum decide_outcome refused)
{
    return d->why == DECIDE_NO_HOST || d->why == DECIDE_AT_MAX || d->why == DECIDE_KERNEL_ZONES ||
           (d->why == DECIDE_REFUSED && refused != DECIDE_REFUSED_RATE);
}

enum low_memory_level low_memory_level(const struct decision *d, enum decide_outcome refused)
{
    bool growing = d->level == CHANNEL_LEVEL_RISING || d->level == CHANNEL_LEVEL_CRITICAL;

    if (!growing || !cannot_get_memory(d, refused))
        return LOW_MEMORY_NONE;
    /* A quarter of the smallest headroom is 48 MiB; with 64 MiB the kernel killed bursts. */
    if (d->available < d->headroom / 4)
        return LOW_MEMORY_CRITICAL;
    if (d->available < d->headroom / 2)
        return LOW_MEMORY_MEDIUM;
    return d->available < d->headroom || d->projected < d->headroom ? LOW_MEMORY_LOW : LOW_MEMORY_NONE;
}

enum low_memory_level low_memory_step(
        struct low_memory *s, const struct decision *d, enum decide_outcome refused, uint64_t now)
{
    enum low_memory_level level = low_memory_level(d, refused);
    bool soon = s->warned_at > 0 && now >= s->warned_at && now - s->warned_at < LOW_MEMORY_REPEAT_USEC;

    if (level == LOW_MEMORY_NONE || (soon && level <= s->warned))
        return LOW_MEMORY_NONE;
    *s = (struct low_memory){ .warned = level, .warned_at = now };
    return level;
}

const char *low_memory_level_to_string(enum low_memory_level level)
{
    switch (level) {
    case LOW_MEMORY_NONE:
        return "none";
    case LOW_MEMORY_LOW:
        return "low";
    case LOW_MEMORY_MEDIUM:
        return "medium";
    case LOW_MEMORY_CRITICAL:
        return "critical";
    }
    return NULL;
}
