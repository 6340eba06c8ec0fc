/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "macro.h"

/* The two pressure triggers, an early and a hard one. The actuator opens them, which needs a capability; the
 * monitor polls them. */

enum trigger_kind {
    TRIGGER_EARLY,
    TRIGGER_HARD,
    _TRIGGER_KIND_MAX,
    _TRIGGER_KIND_INVALID = -EINVAL,
};

struct trigger {
    int fd;
    sd_event_source *source;
    size_t attempt;
    bool fired;
};

struct triggers {
    sd_event *event;
    struct trigger list[_TRIGGER_KIND_MAX];
    void (*fired)(void *userdata);
    void *userdata;
};

/* Takes a reference to event. Calls fired at each event of a trigger. */
void triggers_init(struct triggers *t, sd_event *event, void (*fired)(void *userdata), void *userdata);
/* Closes both triggers; triggers_take() may set new ones. */
void triggers_close(struct triggers *t);
void triggers_done(struct triggers *t);

/* Starts over with the shortest window. */
void triggers_restart(struct triggers *t);

/* Returns the stall and window (µs) to request from the actuator. False: no window is left to try. */
bool triggers_wanted(
        const struct triggers *t, enum trigger_kind kind, uint64_t *ret_stall, uint64_t *ret_window);

/* Takes the actuator's reply: an fd, which the triggers then own, or a negative errno when it refused this
 * window. False: request the next window. */
bool triggers_take(struct triggers *t, enum trigger_kind kind, int fd);
