/* SPDX-License-Identifier: MIT */
#include "ratelimit.h"

#define MICRO UINT64_C(1000000)

void bucket_init(struct bucket *b, uint32_t rate, uint32_t burst, uint64_t now)
{
    *b = (struct bucket){ .rate = rate, .burst = burst, .micro = burst * MICRO, .last = now };
}

/* What is in it at a moment: rate tokens a second are rate micro-tokens a µs. */
static uint64_t filled(const struct bucket *b, uint64_t now)
{
    uint64_t full = b->burst * MICRO, elapsed = sub_floor(now, b->last), gain;

    if (__builtin_mul_overflow(elapsed, b->rate, &gain) || gain > full)
        return full;
    return MIN_OF(b->micro + gain, full);
}

bool bucket_take(struct bucket *b, uint64_t now)
{
    b->micro = filled(b, now);
    b->last = now;
    if (b->micro < MICRO)
        return false;
    b->micro -= MICRO;
    return true;
}

uint64_t bucket_wait(const struct bucket *b, uint64_t now)
{
    uint64_t have = filled(b, now);

    if (have >= MICRO)
        return 0;
    if (b->rate == 0 || b->burst == 0)
        return USEC_FOREVER;
    return (MICRO - have + b->rate - 1) / b->rate;
}

bool fault_window_add_many(
        struct fault_window *w, uint32_t n, uint32_t max, uint64_t window_usec, uint64_t now)
{
    if (w->count == 0 || now < w->begin || now - w->begin >= window_usec)
        *w = (struct fault_window){ .begin = now };
    if (__builtin_add_overflow(w->count, n, &w->count))
        w->count = UINT32_MAX;
    return w->count > max;
}

bool fault_window_add(struct fault_window *w, uint32_t max, uint64_t window_usec, uint64_t now)
{
    return fault_window_add_many(w, 1, max, window_usec, now);
}
