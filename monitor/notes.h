/* SPDX-License-Identifier: MIT */
#pragma once

#include "decide.h"

/* The last decisions worth telling, for Explain: actions, and new reasons to hold. */

#define NOTES_MAX 64u
#define NOTE_OUTCOME_MAX 96u

struct monitor_note {
    uint64_t realtime_usec;
    struct decision decision;
    uint64_t size;
    struct pressure pressure;
    char outcome[NOTE_OUTCOME_MAX]; /* what became of it; empty: nothing yet */
};

struct notes {
    struct monitor_note ring[NOTES_MAX];
    uint32_t next;
    uint32_t count;
};

/* The new note stays the notes' own; the oldest one makes room for it. */
const struct monitor_note *notes_add(
        struct notes *n, uint64_t realtime_usec, const struct decision *d, const struct decide_sample *p);

/* What became of the youngest action. */
void notes_outcome(struct notes *n, const char *format, ...) _printf_(2, 3);

/* The newest note is back 0; NULL: there are not that many. */
const struct monitor_note *notes_get(const struct notes *n, uint32_t back);
