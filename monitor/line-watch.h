/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "macro.h"

/* Watches memory.events.local of every top-level cgroup: the kernel signals there when a task crosses a
 * memory.high line, before it makes the task wait. This wakes the monitor when a burst begins, so that an
 * idle monitor can sleep for longer. It needs no privilege. */
struct line_watch;

/* At most this many cgroups are watched. */
#define LINE_WATCH_MAX 64u

typedef void (*line_watch_crossed_t)(void *userdata);

/* root: the mount point of the unified hierarchy. A missing one is no error: crossed is then never called. */
int line_watch_new(sd_event *event, const char *root, line_watch_crossed_t crossed, void *userdata,
        struct line_watch **ret);
struct line_watch *line_watch_free(struct line_watch *w);

/* Enables the next signal of each line: a line signals once and is then silent until this call, since a task
 * that waits at its line crosses it every 10 ms. */
void line_watch_rearm(struct line_watch *w);

/* Returns true when a user process runs in the root cgroup, which cannot have a line. Kernel threads, which
 * have no session, do not count. */
bool line_watch_root_is_used(const struct line_watch *w);
