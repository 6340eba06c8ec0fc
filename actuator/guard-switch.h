/* SPDX-License-Identifier: MIT */
#pragma once

#include "actuator-limits.h"

/* Whether the guard may be armed, pure. It makes a surge wait for memory that is to come, so it fails open
 * when none can come. */

enum guard_off {
    GUARD_ON,
    GUARD_OFF_ASKED,      /* headroom 0, or nobody has asked yet */
    GUARD_OFF_CONFIGURED, /* Guard=no */
    GUARD_OFF_HIERARCHY,  /* no unified cgroup hierarchy with a memory controller */
    GUARD_OFF_NO_DEVICE,
    GUARD_OFF_NO_HOST,
    GUARD_OFF_AT_MAX,      /* nothing more can be plugged */
    GUARD_OFF_REFUSED,     /* the host gives nothing now, or does not answer */
    GUARD_OFF_CALLER_LEFT, /* the connection that armed it was closed */
    GUARD_OFF_STALE,       /* not armed again in time */
    GUARD_OFF_STALLED,     /* a line was held for long, and nothing was plugged */
    GUARD_OFF_NO_CGROUP,
    GUARD_OFF_FAULT, /* a file cannot be read or written */
    GUARD_OFF_EXIT,
    _GUARD_OFF_MAX,
    _GUARD_OFF_INVALID = -EINVAL,
};

struct guard_wish {
    bool enabled;
    bool refused;
    bool caller_left;
    uint64_t headroom; /* 0: do not arm */
};

enum guard_off guard_switch(const struct guard_wish *w, const struct limits *l);

/* Whether lines may stand, now or when the monitor asks again: not while no memory can come. */
bool guard_switch_may_hold(const struct guard_wish *w, const struct limits *l);

/* Whoever arms the guard has to plug for who waits at it: one that is hung, or was taken over, would hold the
 * guest where it is for ever. A monitor asks within 100 ms of a breach and is answered in 5 s; a memory block
 * is the least that it asks for. */
#define GUARD_HOLD_USEC (20 * USEC_PER_SEC)
#define GUARD_HOLD_PAUSE_USEC (10 * USEC_PER_SEC)
#define GUARD_HOLD_GROWTH MIB(128)

struct guard_hold {
    uint64_t since; /* 0: nothing is held */
    uint64_t seen;  /* held, the last time */
    uint64_t size;  /* growth counts from here; giving back does not lower it */
    bool stalled;
};

/* One look: whether slices are held at their lines, and the requested size. Returns h->stalled, which ends
 * with growth alone. */
bool guard_hold_step(struct guard_hold *h, bool held, uint64_t requested_size, uint64_t now);

const char *guard_off_text(enum guard_off off);
