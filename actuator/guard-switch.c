/* SPDX-License-Identifier: MIT */
#include "guard-switch.h"

enum guard_off guard_switch(const struct guard_wish *w, const struct limits *l)
{
    if (!w->enabled)
        return GUARD_OFF_CONFIGURED;
    if (w->caller_left)
        return GUARD_OFF_CALLER_LEFT;
    if (w->headroom == 0)
        return GUARD_OFF_ASKED;
    if (!l->device)
        return GUARD_OFF_NO_DEVICE;
    if (!l->host || l->block_size == 0)
        return GUARD_OFF_NO_HOST;
    if (w->refused)
        return GUARD_OFF_REFUSED;
    if (l->size >= limits_effective_max(l))
        return GUARD_OFF_AT_MAX;
    return GUARD_ON;
}

bool guard_switch_may_hold(const struct guard_wish *w, const struct limits *l)
{
    struct guard_wish asked = *w;

    asked.caller_left = false;
    asked.headroom = MAX_OF(asked.headroom, 1);
    return guard_switch(&asked, l) == GUARD_ON;
}

bool guard_hold_step(struct guard_hold *h, bool held, uint64_t requested_size, uint64_t now)
{
    bool grown = h->since > 0 && sub_floor(requested_size, h->size) >= GUARD_HOLD_GROWTH;

    if (grown || (!h->stalled && h->since > 0 && now - h->seen >= GUARD_HOLD_PAUSE_USEC))
        *h = (struct guard_hold){ 0 };
    if (held && h->since == 0)
        *h = (struct guard_hold){ .since = now, .size = requested_size };
    if (held)
        h->seen = now;
    h->stalled |= h->since > 0 && h->seen - h->since >= GUARD_HOLD_USEC;
    return h->stalled;
}

const char *guard_off_text(enum guard_off off)
{
    static const char *const texts[_GUARD_OFF_MAX] = {
        [GUARD_ON] = "armed",
        [GUARD_OFF_ASKED] = "not asked for",
        [GUARD_OFF_CONFIGURED] = "Guard=no",
        [GUARD_OFF_HIERARCHY] = "there is no unified cgroup hierarchy (cgroup v2) with a memory controller",
        [GUARD_OFF_NO_DEVICE] = "there is no virtio-mem device",
        [GUARD_OFF_NO_HOST] = "no host answers",
        [GUARD_OFF_AT_MAX] = "at max size, nothing more can be plugged",
        [GUARD_OFF_REFUSED] = "the host gives no more now",
        [GUARD_OFF_CALLER_LEFT] = "the connection that armed it was closed",
        [GUARD_OFF_STALE] = "not armed again in time",
        [GUARD_OFF_STALLED] = "a line was held for 20 s and nothing was plugged",
        [GUARD_OFF_NO_CGROUP] = "no top-level cgroup may have a line",
        [GUARD_OFF_FAULT] = "fault",
        [GUARD_OFF_EXIT] = "the actuator is being stopped",
    };

    return off >= 0 && off < _GUARD_OFF_MAX ? texts[off] : NULL;
}
