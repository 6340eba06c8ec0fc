/* SPDX-License-Identifier: MIT */
#pragma once

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "actuator.h"

/* org.vmtide.Actuator1, on the system bus and on the private socket: the same vtable, the same checks. */
struct actuator_bus;

struct actuator_bus_options {
    const char *address; /* NULL: the system bus */
    const char *socket;
    const char *procfs;
    const char *reservations_saved;
    const char *cgroupfs;
    uid_t monitor_uid;
    gid_t monitor_gid;
};

int actuator_bus_new(
        sd_event *event, struct actuator *a, const struct actuator_bus_options *o, struct actuator_bus **ret);
struct actuator_bus *actuator_bus_free(struct actuator_bus *b);
