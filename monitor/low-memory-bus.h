/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-bus.h>

#include "log.h"
#include "low-memory.h"

/* org.freedesktop.LowMemoryMonitor on the system bus, as GMemoryMonitor listens to it. The name is had as
 * long as warnings are wanted, since programs look for it when they start; it is never taken from somebody
 * else, nor waited for. Zero-initialise. */
struct low_memory_bus {
    sd_bus *bus; /* system-bus's; NULL: there is none */
    sd_bus_slot *object;
    sd_bus_slot *request;
    bool wanted;
    bool owned;
    enum low_memory_level said;
    struct log_repeat repeat;
};

/* A failure leaves the bus without the object, and is logged. */
void low_memory_bus_opened(struct low_memory_bus *l, sd_bus *bus);
void low_memory_bus_lost(struct low_memory_bus *l);

/* Takes the name, or tries again to, or gives it back. */
void low_memory_bus_configure(struct low_memory_bus *l, bool wanted);

/* Warns programs, when the name is ours; d is what the warning is for. */
void low_memory_bus_warn(struct low_memory_bus *l, enum low_memory_level level, const struct decision *d);
