/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-bus.h>

#include "log.h"
#include "low-memory.h"

/* org.freedesktop.LowMemoryMonitor on the system bus, the interface that GMemoryMonitor listens to. The
 * monitor owns the name while warnings are configured, since programs look for it when they start. It never
 * replaces another owner and does not queue for the name. Zero-initialise. */
struct low_memory_bus {
    sd_bus *bus; /* owned by system-bus; NULL: not connected */
    sd_bus_slot *object;
    sd_bus_slot *request;
    bool wanted;
    bool owned;
    enum low_memory_level warned;
    struct log_repeat repeat;
};

/* Logs a failure; the bus is then without the object. */
void low_memory_bus_opened(struct low_memory_bus *l, sd_bus *bus);
void low_memory_bus_lost(struct low_memory_bus *l);

/* Requests the name, again after a failure, or releases it. */
void low_memory_bus_configure(struct low_memory_bus *l, bool wanted);

/* Sends a warning because of d, if the monitor owns the name. */
void low_memory_bus_warn(struct low_memory_bus *l, enum low_memory_level level, const struct decision *d);
