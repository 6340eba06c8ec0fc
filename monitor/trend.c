/* SPDX-License-Identifier: MIT */
#include "trend.h"

/* A measured rate decays by half in this time: long enough to bridge the pauses of a surge through throttling
 * and page-cache writeback, short enough to plug nothing more after a burst. */
#define RATE_HALF_LIFE_USEC (400 * USEC_PER_MSEC)

/* Readings closer than this give no rate. Measured: in readings 0.6 ms apart (a pressure event right after
 * the timer), MemFree and the file pages differed by 6 MiB while a file streamed: 10 GB/s of "consumption",
 * for which 2 to 5 GiB were plugged. */
#define RATE_WINDOW_USEC (10 * USEC_PER_MSEC)

static uint64_t rate_decayed(uint64_t rate, uint64_t elapsed)
{
    uint64_t halvings = elapsed / RATE_HALF_LIFE_USEC;
    uint64_t rest = elapsed % RATE_HALF_LIFE_USEC;

    if (halvings >= 63)
        return 0;
    rate >>= halvings;
    /* Linear between the halvings: 1 - rest / (2 x half-life). */
    return rate - rate / (2 * RATE_HALF_LIFE_USEC) * rest;
}

/* Consumption that the step hid counts after the step: the fall of MemTotal is subtracted as the unplug's. */
static uint64_t rate_now(
        const struct trend *t, uint64_t elapsed, uint64_t available, uint64_t total, enum trend_change change)
{
    uint64_t consumed = change == TREND_UNPLUGGING ? 0 : sub_floor(t->last_available, available);

    if (change == TREND_STEPPING)
        consumed = sub_floor(consumed, sub_floor(t->last_total, total));
    return consumed > UINT64_MAX / USEC_PER_SEC ? UINT64_MAX / USEC_PER_SEC
                                                : consumed * USEC_PER_SEC / elapsed;
}

bool trend_memory(struct trend *t, uint64_t now, uint64_t available, uint64_t total, enum trend_change change,
        uint64_t most)
{
    uint64_t elapsed = sub_floor(now, t->last_time);
    bool good = t->last_time == 0 || now >= t->last_time;

    if (good && t->last_time > 0 && elapsed < RATE_WINDOW_USEC)
        return true;
    if (total < t->last_total && change != TREND_STEPPING)
        change = TREND_UNPLUGGING;
    if (!good || t->last_time == 0)
        t->rate = 0;
    else
        t->rate = MAX_OF(
                MIN_OF(rate_now(t, elapsed, available, total, change), most), rate_decayed(t->rate, elapsed));
    t->last_time = now;
    t->last_available = available;
    t->last_total = total;
    return good;
}

uint64_t trend_stall(struct trend *t, uint64_t total, bool own)
{
    uint64_t grown = t->have_stall ? sub_floor(total, t->raw_stall) : 0;

    t->raw_stall = total;
    t->have_stall = true;
    if (own)
        return 0;
    t->stall += grown;
    return grown;
}

void trend_refault(struct trend *t, uint64_t bytes)
{
    t->refault = bytes;
}

static const struct trend_slot *slot_back(const struct trend *t, uint32_t back)
{
    return &t->slots[(t->next + TREND_SLOTS - 1 - back) % TREND_SLOTS];
}

void trend_commit(struct trend *t, uint64_t now)
{
    if (t->count > 0 && now < slot_back(t, 0)->time)
        t->count = t->next = 0;
    if (t->count > 0 && now - slot_back(t, 0)->time < TREND_SLOT_USEC)
        return;
    t->slots[t->next] = (struct trend_slot){ .time = now, .stall = t->stall, .refault = t->refault };
    t->next = (t->next + 1) % TREND_SLOTS;
    t->count = MIN_OF(t->count + 1, TREND_SLOTS);
}

/* The newest slot that is at least window old, else the oldest slot; NULL without history. */
static const struct trend_slot *slot_before(const struct trend *t, uint64_t now, uint64_t window)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (now - slot_back(t, i)->time >= window)
            return slot_back(t, i);
    return t->count > 0 ? slot_back(t, t->count - 1) : NULL;
}

uint32_t trend_pressure(const struct trend *t, uint64_t now, uint64_t window)
{
    const struct trend_slot *slot = slot_before(t, now, window);
    uint64_t span, stalled;

    if (!slot || window == 0)
        return 0;
    span = MAX_OF(now - slot->time, window);
    stalled = MIN_OF(sub_floor(t->stall, slot->stall), span);
    return (uint32_t)(stalled * PERMYRIAD_ONE / span);
}

uint64_t trend_refault_rate(const struct trend *t, uint64_t now, uint64_t window)
{
    const struct trend_slot *slot = slot_before(t, now, window);
    uint64_t span, bytes;

    if (!slot || window == 0)
        return 0;
    span = MAX_OF(now - slot->time, window);
    bytes = sub_floor(t->refault, slot->refault);
    return bytes / (span / USEC_PER_MSEC + 1) * 1000;
}
