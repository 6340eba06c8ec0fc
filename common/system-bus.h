/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "macro.h"

/* The connection to the bus daemon: our name and org.freedesktop.LogControl1 on it, and back when it was
 * lost. Nothing here waits for the bus daemon, which may itself be waiting for memory. */
struct system_bus;

struct system_bus_ops {
    int (*opened)(sd_bus *bus, void *userdata); /* put the object on it, the name comes after */
    void (*lost)(void *userdata);
    void (*name_gone)(const char *name, void *userdata); /* somebody has left the bus */
    /* The name is somebody else's, and was when asked for again. NULL: wait for it, and work on without. */
    void (*name_taken)(void *userdata);
};

/* address NULL: the system bus's. ops and strings must outlive it. A bus that is not there is no failure. */
int system_bus_new(sd_event *event, const char *address, const char *name, const struct system_bus_ops *ops,
        void *userdata, struct system_bus **ret);
struct system_bus *system_bus_free(struct system_bus *s);

/* NULL while there is no connection that a signal could be sent on. */
sd_bus *system_bus_ready(const struct system_bus *s);
