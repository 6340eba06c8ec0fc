/* SPDX-License-Identifier: MIT */
#include "progress.h"

const char *progress_state_to_string(enum progress_state s)
{
    static const char *const names[_PROGRESS_STATE_MAX] = {
        [PROGRESS_IDLE] = "idle",
        [PROGRESS_PLUGGING] = "plugging",
        [PROGRESS_UNPLUGGING] = "unplugging",
        [PROGRESS_STUCK] = "stuck",
        [PROGRESS_DISCONNECTED] = "disconnected",
        [PROGRESS_NO_DEVICE] = "no-device",
    };

    return s >= 0 && s < _PROGRESS_STATE_MAX ? names[s] : NULL;
}

void progress_take(struct progress *p, struct limits *l, uint64_t size, uint64_t requested_size, uint64_t now)
{
    if (size != l->size || requested_size != l->requested_size)
        p->moved_at = now;
    l->size = size;
    l->requested_size = requested_size;
}

bool progress_signal(struct progress *p, const struct limits *l, uint64_t now, uint64_t *ret_old)
{
    if (l->size == p->signalled_size)
        return false;
    /* A clock that went back holds nothing back. */
    if (now >= p->signalled_at && now - p->signalled_at < PROGRESS_SIGNAL_USEC && p->signalled_at > 0)
        return false;
    *ret_old = p->signalled_size;
    p->signalled_size = l->size;
    p->signalled_at = now;
    return true;
}

static bool is_changing(const struct limits *l)
{
    return l->device && l->host && l->size != l->requested_size;
}

uint64_t progress_deadline(const struct progress *p, const struct limits *l, uint64_t now)
{
    if (l->size != p->signalled_size)
        return MAX_OF(p->signalled_at + PROGRESS_SIGNAL_USEC, now);
    if (is_changing(l) && now < p->moved_at + PROGRESS_STUCK_USEC)
        return p->moved_at + PROGRESS_STUCK_USEC;
    return USEC_FOREVER;
}

enum progress_state progress_state(const struct progress *p, const struct limits *l, uint64_t now)
{
    if (!l->device)
        return PROGRESS_NO_DEVICE;
    if (!l->host)
        return PROGRESS_DISCONNECTED;
    if (!is_changing(l))
        return PROGRESS_IDLE;
    if (now >= p->moved_at + PROGRESS_STUCK_USEC)
        return PROGRESS_STUCK;
    return l->requested_size > l->size ? PROGRESS_PLUGGING : PROGRESS_UNPLUGGING;
}
