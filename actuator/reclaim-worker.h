/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "macro.h"

/* Runs reclaim_run() in a thread of its own, since a write to memory.reclaim lasts: one at a time. */
struct reclaim_worker;

/* Called once for each start: bytes that went, or an error's name and text. */
typedef void (*reclaim_done_t)(uint64_t reclaimed, const char *error, const char *text, void *userdata);

int reclaim_worker_new(
        sd_event *event, const char *cgroupfs, const char *procfs, struct reclaim_worker **ret);

/* Answers what waits and waits a second for the thread; one that still hangs in the kernel is left to the
 * process's end. */
struct reclaim_worker *reclaim_worker_free(struct reclaim_worker *w);

/* bytes as reclaim_check() lets through. done is called from the loop (or from here, when it is refused):
 * after RECLAIM_TIME_USEC and a second at the latest, with what has gone by then. */
void reclaim_worker_start(struct reclaim_worker *w, uint64_t bytes, reclaim_done_t done, void *userdata);

/* Answers what waits, with what has gone by now, and lets the thread stop. */
void reclaim_worker_give_up(struct reclaim_worker *w);
