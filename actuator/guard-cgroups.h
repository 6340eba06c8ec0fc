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

/* Replaces the list of cgroups that the guard must not touch, beside init.scope and vmtide.slice. Out of
 * memory, the old list stays. */
void guard_cgroups_exclude(struct guard_cgroups *c, const char *names);

/* Opens the cgroups that were created since the last scan, and removes the entries of cgroups that were
 * removed or excluded. An excluded cgroup keeps its entry until its line is written back. */
void guard_cgroups_scan(struct guard_cgroups *c);

/* Reads all pending inotify events. Returns true when a memory.high was written, or a cgroup was created or
 * removed. */
bool guard_cgroups_take_events(struct guard_cgroups *c);
