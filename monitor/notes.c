/* SPDX-License-Identifier: MIT */
#include "notes.h"

#include <stdarg.h>
#include <stdio.h>

static struct monitor_note *note_back(struct notes *n, uint32_t back)
{
    return &n->ring[(n->next + NOTES_MAX - 1 - back) % NOTES_MAX];
}

const struct monitor_note *notes_add(
        struct notes *n, uint64_t realtime_usec, const struct decision *d, const struct decide_sample *p)
{
    n->next = (n->next + 1) % NOTES_MAX;
    n->count = MIN_OF(n->count + 1, NOTES_MAX);
    *note_back(n, 0) = (struct monitor_note){
        .realtime_usec = realtime_usec,
        .decision = *d,
        .size = p->size,
        .pressure = p->pressure,
    };
    return note_back(n, 0);
}

void notes_outcome(struct notes *n, const char *format, ...)
{
    va_list ap;

    for (uint32_t i = 0; i < n->count; i++) {
        struct monitor_note *note = note_back(n, i);

        if (note->decision.action == DECIDE_HOLD)
            continue;
        va_start(ap, format);
        (void)vsnprintf(note->outcome, sizeof(note->outcome), format, ap);
        va_end(ap);
        return;
    }
}

const struct monitor_note *notes_get(const struct notes *n, uint32_t back)
{
    return back < n->count ? note_back((struct notes *)n, back) : NULL;
}
