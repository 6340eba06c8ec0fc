/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "macro.h"

/* Watches memory.events.local of every top-level cgroup: the kernel signals there that a memory.high line was
 * crossed, before it makes the task wait. This wakes the monitor as soon as a burst begins, so that it may
 * sleep for long before. No privilege is needed. */
struct line_watch;

/* More cgroups than this are not watched. */
#define LINE_WATCH_MAX 64u

typedef void (*line_watch_crossed_t)(void *userdata);

/* root: where the unified hierarchy is mounted. Without one nothing is ever signalled, which is no error. */
int line_watch_new(sd_event *event, const char *root, line_watch_crossed_t crossed, void *userdata,
        struct line_watch **ret);
struct line_watch *line_watch_free(struct line_watch *w);

/* A crossing is signalled once, and then only after this: a task that waits at its line crosses it each 10
 * ms. */
void line_watch_rearm(struct line_watch *w);

/* Whether a user's process runs in the root cgroup, which can have no line. Kernel threads, which have no
 * session, do not count. */
bool line_watch_root_is_used(const struct line_watch *w);
