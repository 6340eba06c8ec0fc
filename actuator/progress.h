/* SPDX-License-Identifier: MIT */
#pragma once

#include "actuator-limits.h"

/* How the size follows the requested size, pure: the state's name, and when listeners are to be told. */

/* SizeChanged is said ten times a second at most, the last one always. */
#define PROGRESS_SIGNAL_USEC (100 * USEC_PER_MSEC)
/* The host asks the device again after 5 s without progress; twice that, and it is stuck. */
#define PROGRESS_STUCK_USEC (10 * USEC_PER_SEC)

enum progress_state {
    PROGRESS_IDLE,
    PROGRESS_PLUGGING,
    PROGRESS_UNPLUGGING,
    PROGRESS_STUCK,
    PROGRESS_DISCONNECTED,
    PROGRESS_NO_DEVICE,
    _PROGRESS_STATE_MAX,
    _PROGRESS_STATE_INVALID = -EINVAL,
};

struct progress {
    uint64_t signalled_size; /* what listeners were told last */
    uint64_t signalled_at;
    uint64_t moved_at; /* when size or requested size last changed */
};

/* New numbers from the host; times in µs of one clock. */
void progress_take(
        struct progress *p, struct limits *l, uint64_t size, uint64_t requested_size, uint64_t now);

/* True when SizeChanged is due now, from *ret_old to the size; it counts as said then. */
bool progress_signal(struct progress *p, const struct limits *l, uint64_t now, uint64_t *ret_old);

/* When something will be due without any news: a signal that was held back, or a change that has come to be
 * stuck. USEC_FOREVER: nothing. */
uint64_t progress_deadline(const struct progress *p, const struct limits *l, uint64_t now);

enum progress_state progress_state(const struct progress *p, const struct limits *l, uint64_t now);
const char *progress_state_to_string(enum progress_state s);
