/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-bus.h>

#include "macro.h"

/* The actuator's properties as last received. connected: the actuator is connected and has a host and a
 * device. */
struct actuator_view {
    bool connected;
    bool host_connected;
    bool guard_held; /* tasks wait at a memory.high line of the guard */
    uint64_t boot_size;
    uint64_t size;
    uint64_t requested_size;
    uint64_t min_size;
    uint64_t max_size;
    uint64_t host_min_size;
    uint64_t host_max_size;
    uint64_t block_size;
    uint64_t memory_block_size;
    uint64_t guard_headroom; /* headroom that the guard is armed with; 0: disarmed */
    uint64_t reserved_bytes;
};

/* Reads properties (a{sv}) into the view and skips unknown ones. Returns negative errno for an invalid
 * message; some fields may have changed then, so read into a copy. */
int actuator_view_read(struct actuator_view *v, sd_bus_message *m);
