/* SPDX-License-Identifier: MIT */
#pragma once

#include <time.h>

#include "guard-cgroups.h"

/* The lines of all top-level cgroups together: read, plan, write. One thread, no loop; time comes from the
 * caller. */

/* A breach is acted upon for this long: the sleeps of throttled threads are up to 2 s long, and a stream that
 * is let go breaches again at once. */
#define GUARD_BREACHED_USEC (2 * USEC_PER_SEC)
/* A write below what a cgroup uses reclaims until it is cut short. */
#define GUARD_WRITE_USEC (100 * USEC_PER_MSEC)

/* How often the pressure of a cgroup that is held is read: the kernel's average moves every 2 s. */
#define GUARD_STRAIN_USEC USEC_PER_SEC
/* How often cgroups are looked for that got a memory controller without being made. */
#define GUARD_SCAN_USEC (2 * USEC_PER_SEC)

struct guard_lines {
    const char *procfs; /* strings are the caller's */
    const char *saved;
    struct guard_cgroups cgroups;
    int meminfo;
    int zoneinfo;
    char *buffer;
    timer_t timer; /* interrupts a write */
    bool have_timer;
    int hierarchy; /* 1: unified, with a memory controller; 0: not; negative: not looked yet */
    uint32_t cpus;
    bool armed;
    bool saved_is_stale;
    bool left;                      /* a line of ours stands where none should */
    char where[GUARD_NAME_MAX + 1]; /* the cgroup of the last error */

    uint64_t leaving; /* bytes that are being unplugged; the caller sets it */
    uint64_t scanned_at;
    uint64_t strain_at;         /* pressure was read */
    uint64_t strain_bound;      /* how long a cgroup may wait, USEC_FOREVER without systemd-oomd */
    struct guard_sample sample; /* of the last look */
    struct guard_plan plan;
    struct guard_cgroup *planned[GUARD_CGROUPS_MAX]; /* whose the sample's rows are */
    size_t lifted;                                   /* cgroups without a line because of their pressure */
    uint64_t breaches;                               /* in a row */
};

int guard_lines_init(struct guard_lines *l, const char *cgroup, const char *procfs, const char *saved);
void guard_lines_clear(struct guard_lines *l);

/* names: cgroups to leave alone, with spaces between them. A line of ours in one of them is taken back; when
 * that fails it is remembered until it is. */
int guard_lines_exclude(struct guard_lines *l, const char *names);

/* Is there a unified hierarchy with a memory controller? */
bool guard_lines_hierarchy(struct guard_lines *l);

/* Reads everything, writes the lines that have moved, picks up cgroups that have appeared; the
 * administrator's values are saved before. The first call arms. -ENOENT: there is no cgroup that may have a
 * line. After any other error: disarm. */
int guard_lines_look(struct guard_lines *l, uint64_t headroom, uint64_t now);

/* Writes the administrator's values back. Tries all of them; the first error, and then left is true. */
int guard_lines_disarm(struct guard_lines *l);
/* Tries again what would not be written; while armed, in the excluded cgroups. As above. */
int guard_lines_retry(struct guard_lines *l);

bool guard_lines_breached(const struct guard_lines *l, uint64_t now);
