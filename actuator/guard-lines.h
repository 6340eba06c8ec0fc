/* SPDX-License-Identifier: MIT */
#pragma once

#include <time.h>

#include "guard-slice.h"

/* The lines of all slices together: read, plan, write. One thread, no loop; time comes from the caller. */

/* A breach is acted upon for this long: the sleeps of throttled threads are up to 2 s long, and a stream that
 * is let go breaches again at once. */
#define GUARD_BREACHED_USEC (2 * USEC_PER_SEC)
/* A write below what a slice uses reclaims until it is cut short. */
#define GUARD_WRITE_USEC (100 * USEC_PER_MSEC)

struct guard_lines {
    const char *cgroup; /* strings are the caller's */
    const char *procfs;
    const char *saved;
    /* Those that are held, then those that are not any more, but whose line would not be taken back yet. */
    struct guard_slice slices[2 * GUARD_SLICES_MAX];
    size_t n;
    size_t n_all;
    int meminfo;
    int zoneinfo;
    char *buffer;
    timer_t timer; /* interrupts a write */
    bool have_timer;
    int inotify;
    int hierarchy; /* 1: unified, with a memory controller; 0: not; negative: not looked yet */
    uint32_t cpus;
    bool armed;
    bool saved_is_stale;
    bool left;                      /* a line of ours stands where none should */
    char where[GUARD_NAME_MAX + 1]; /* the slice of the last error */

    struct guard_sample sample; /* of the last look */
    struct guard_plan plan;
    uint64_t breaches; /* in a row */
};

int guard_lines_init(struct guard_lines *l, const char *cgroup, const char *procfs, const char *saved);
void guard_lines_clear(struct guard_lines *l);

/* names: valid ones with spaces between them. Only when disarmed; a slice whose line would not be taken back
 * then is remembered until it is. */
void guard_lines_set_slices(struct guard_lines *l, const char *names);

/* Is there a unified hierarchy with a memory controller? */
bool guard_lines_hierarchy(struct guard_lines *l);

/* Reads everything, writes the lines that have moved, picks up slices that have appeared; the administrator's
 * values are saved before. The first call arms. -ENOENT: there is no slice. After any other error: disarm. */
int guard_lines_look(struct guard_lines *l, uint64_t headroom, uint64_t now);

/* Writes the administrator's values back. Tries all of them; the first error, and then left is true. */
int guard_lines_disarm(struct guard_lines *l);
/* Tries again what would not be written, while armed the slices that are not held any more. As above. */
int guard_lines_retry(struct guard_lines *l);

bool guard_lines_breached(const struct guard_lines *l, uint64_t now);
/* Empties the inotify queue, of our own writes or of what is of no interest now. */
void guard_lines_forget_writes(struct guard_lines *l);
