/* SPDX-License-Identifier: MIT */
#pragma once

#include "guard.h"

/* The files of one slice. They stay open: opening needs memory just when there is none. */
struct guard_slice {
    char name[GUARD_NAME_MAX + 1];
    int current;
    int stat;
    int events;
    int high;
    uint64_t breaches;    /* as counted by the kernel; the last one seen */
    uint64_t written;     /* the line that we set; GUARD_NO_LINE: none of ours stands */
    uint64_t limit;       /* the administrator's */
    uint64_t breached_at; /* µs; 0: not */
    bool begun;           /* limit is known */
};

/* A closed one. */
void guard_slice_init(struct guard_slice *s, const char *name);
/* cgroup: where the unified hierarchy is. -ENOENT: no such slice (yet). */
int guard_slice_open(struct guard_slice *s, const char *cgroup);
void guard_slice_close(struct guard_slice *s);
static inline bool guard_slice_is_open(const struct guard_slice *s)
{
    return s->high >= 0;
}

/* Does a line of ours stand, below the administrator's? */
static inline bool guard_slice_is_ours(const struct guard_slice *s)
{
    return s->written != GUARD_NO_LINE;
}

/* To be polled for POLLPRI; negative when a breach would be of the administrator's line, which is no news. */
static inline int guard_slice_watch_fd(const struct guard_slice *s)
{
    return guard_slice_is_ours(s) ? s->events : -EBADF;
}

/* Reads what the plan needs; clean only when it is wanted, it costs most. Notices by memory.high that
 * somebody else has written it, whose value is the administrator's limit then: returns 1. -ENODEV: the slice
 * has gone. */
int guard_slice_read(struct guard_slice *s, bool clean, struct guard_slice_sample *ret);

/* How often the line was breached since the last call. */
int guard_slice_breaches(struct guard_slice *s, uint64_t *ret);

/* May wait while the kernel reclaims what is above the line, until a signal comes; that is no error. */
int guard_slice_write(struct guard_slice *s, uint64_t line);

/* "max" or a number of bytes, as memory.high has it. */
int guard_line_parse(const char *text, uint64_t *ret);
#define GUARD_LINE_TEXT_MAX 24u
const char *guard_line_format(char buf[static GUARD_LINE_TEXT_MAX], uint64_t line);
/* The same to be written: of one length, so that nothing of an older one stays where a plain file stands in
 * for the kernel's, which strips the spaces. */
const char *guard_line_pad(char buf[static GUARD_LINE_TEXT_MAX], uint64_t line);
