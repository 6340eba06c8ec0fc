/* SPDX-License-Identifier: MIT */
#pragma once

#include "guard-cgroup.h"

/* All top-level cgroups with a memory controller, found by readdir and followed by inotify. One thread, no
 * loop. */
struct guard_cgroups {
    const char *root; /* where the unified hierarchy is mounted; the caller's string */
    char *excluded;   /* names with spaces between them; owned */
    struct guard_cgroup list[GUARD_CGROUPS_MAX];
    size_t n;
    size_t left_out; /* cgroups beyond GUARD_CGROUPS_MAX, which have no line */
    int inotify;
    int root_watch;
    bool stale; /* a cgroup was made or removed since the last scan */
};

int guard_cgroups_init(struct guard_cgroups *c, const char *root);
void guard_cgroups_clear(struct guard_cgroups *c);

/* The names to leave alone, beside init.scope and vmtide.slice. NULL: out of memory keeps the old ones. */
void guard_cgroups_exclude(struct guard_cgroups *c, const char *names);

/* Opens the cgroups that have appeared. Cgroups that are gone were closed when a read of them failed; their
 * places are given up here, and so are those of excluded ones in which no line of ours stands. */
void guard_cgroups_scan(struct guard_cgroups *c);

/* Empties the inotify queue. True: somebody wrote a memory.high, or a cgroup was made or removed. */
bool guard_cgroups_take_events(struct guard_cgroups *c);
