/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "macro.h"

/* The two pressure triggers, an early and a harder one. The actuator opens them (that takes a capability),
 * they are polled here. */

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

/* Keeps a reference to the loop; fired is called at each event. */
void triggers_init(struct triggers *t, sd_event *event, void (*fired)(void *userdata), void *userdata);
/* Closes both; they may be had again. */
void triggers_drop(struct triggers *t);
void triggers_done(struct triggers *t);

/* Begins anew with the best window. */
void triggers_restart(struct triggers *t);

/* What to ask the actuator for next, in µs. False: nothing is left to try. */
bool triggers_wanted(
        const struct triggers *t, enum trigger_kind kind, uint64_t *ret_stall, uint64_t *ret_window);

/* The answer: fd becomes the triggers' own; negative: this window is not to be had, ask for the next one.
 * False: ask again. */
bool triggers_take(struct triggers *t, enum trigger_kind kind, int fd);
