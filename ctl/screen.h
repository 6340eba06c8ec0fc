/* SPDX-License-Identifier: MIT */
#pragma once

#include "draw.h"
#include "state.h"

/* What status, watch, explain and reservations show. Pure: the times of day are given. */

struct screen_clock {
    uint64_t realtime_usec;
    uint64_t boottime_usec;
};

void screen_status(GString *out, const struct draw_style *s, const struct ctl_state *state,
        const struct screen_clock *now);

/* The last samples for watch, oldest first. */
#define SCREEN_HISTORY_MAX 60u
struct screen_history {
    uint64_t size[SCREEN_HISTORY_MAX];
    uint64_t some10[SCREEN_HISTORY_MAX];
    size_t n;
};
void screen_history_add(struct screen_history *h, const struct ctl_state *state);
void screen_history(GString *out, const struct draw_style *s, const struct screen_history *h,
        const struct ctl_state *state);

/* One line for watch without a terminal, without newline. */
void screen_line(GString *out, const struct ctl_state *state, const struct screen_clock *now);

/* One decision, as Explain gives it. */
void screen_decision(GString *out, const struct draw_style *s, const json_t *decision);
/* One line for each reservation. */
void screen_reservations(GString *out, const struct draw_style *s, const json_t *reservations,
        const struct screen_clock *now, unsigned indent);
