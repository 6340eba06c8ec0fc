/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>
#include "macro.h"

/* What the three daemons have in common around their loop. */

/* A loop with SIGTERM and SIGINT ending it, the systemd watchdog served and (when reload is not NULL) SIGHUP
 * calling it. Signals are blocked for the whole process: call before threads are made. A reload that fails
 * has changed nothing; *ret_error (freed here) is said, and is the unit's status text until one succeeds. */
typedef int (*service_reload_t)(void *userdata, char **ret_error);
int service_event_new(service_reload_t reload, void *userdata, sd_event **ret);

/* mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT); warns and goes on when it is not allowed. */
void service_lock_memory(void);

/* sd_notify READY=1, loop, STOPPING=1. Returns the process's exit status. */
int service_run(sd_event *event);

/* CLOCK_BOOTTIME would jump over a suspend, which is no lack of progress: CLOCK_MONOTONIC in µs. */
uint64_t now_usec(void);
/* For people: CLOCK_REALTIME in µs. */
uint64_t realtime_usec(void);
