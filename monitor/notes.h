/* SPDX-License-Identifier: MIT */
#pragma once

#include "decide.h"

/* The last decisions for Explain: each action, and each new reason to hold. */

#define NOTES_MAX 64u
#define NOTE_OUTCOME_MAX 96u

struct monitor_note {
    uint64_t realtime_usec;
    struct decision decision;
    uint64_t size;
    struct pressure pressure;
    char outcome[NOTE_OUTCOME_MAX]; /* result of the request; empty: none yet */
};

struct notes {
    struct monitor_note ring[NOTES_MAX];
    uint32_t next;
    uint32_t count;
};

/* Adds a note, in place of the oldest one when full. The returned note belongs to n. */
const struct monitor_note *notes_add(
        struct notes *n, uint64_t realtime_usec, const struct decision *d, const struct decide_sample *p);

/* Sets the outcome of the newest action. */
void notes_outcome(struct notes *n, const char *format, ...) _printf_(2, 3);

/* back 0 is the newest note. NULL: there are fewer notes. */
const struct monitor_note *notes_get(const struct notes *n, uint32_t back);
