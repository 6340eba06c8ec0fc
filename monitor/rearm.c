/* SPDX-License-Identifier: MIT */
#include "rearm.h"

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

static bool is_due(const struct rearm *r, uint64_t headroom, uint64_t available, uint64_t total, uint64_t now)
{
    if (r->time == 0)
        return headroom > 0;
    if (headroom == 0 || r->headroom == 0)
        return headroom != r->headroom;
    if (now < r->time || now - r->time >= REARM_USEC)
        return true;
    if (now - r->time < REARM_MIN_USEC)
        return false;
    return headroom != r->headroom || distance(available, r->available) >= headroom / 4 ||
           distance(total, r->total) >= headroom / 4;
}

bool rearm_due(struct rearm *r, uint64_t headroom, uint64_t available, uint64_t total, uint64_t now)
{
    if (!is_due(r, headroom, available, total, now))
        return false;
    *r = (struct rearm){ .time = now, .headroom = headroom, .available = available, .total = total };
    return true;
}

void rearm_forget(struct rearm *r)
{
    *r = (struct rearm){ 0 };
}
