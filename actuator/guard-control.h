/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "guard-switch.h"

/* The loop's end of the guard: takes what is asked for, tells the worker, and logs what has become of it.
 * Nothing here waits. */
struct guard_control;

/* How long arming holds; the monitor arms again every 2 s. */
#define GUARD_CONTROL_FRESH_USEC (5 * USEC_PER_SEC)

struct guard_control_options {
    const char *cgroup; /* "/sys/fs/cgroup" */
    const char *procfs;
    const char *saved; /* the administrator's values, "/run/vmtide/guard" */
};

/* Called when the headroom in force has changed (0: not armed), or whether tasks wait at a line. */
typedef void (*guard_control_changed_t)(uint64_t headroom, bool held, void *userdata);

/* Writes back first what an actuator before this one has left. Strings must outlive it. */
int guard_control_new(sd_event *event, const struct guard_control_options *o, guard_control_changed_t changed,
        void *userdata, struct guard_control **ret);
/* Disarms, and waits for that. */
struct guard_control *guard_control_free(struct guard_control *g);

/* excluded: names of cgroups with spaces between them; copied. */
void guard_control_configure(struct guard_control *g, bool enabled, const char *excluded);

/* -ERANGE: more than the MemTotal in *ret_total. caller: whose leaving disarms. */
int guard_control_arm(struct guard_control *g, uint64_t headroom, const char *caller, uint64_t *ret_total);
/* The caller has left; or all whose name begins like that. */
void guard_control_caller_gone(struct guard_control *g, const char *name);

/* A call of the monitor's arrived: it is alive, and what is armed stays armed for another while. */
void guard_control_alive(struct guard_control *g);

/* The host refused to give more, or it gave or has room again. */
void guard_control_refused(struct guard_control *g, bool refused);
/* See guard_switch_may_hold(). */
bool guard_control_may_hold(const struct guard_control *g);
/* Anything may have changed here. */
void guard_control_update(struct guard_control *g, const struct limits *l);
