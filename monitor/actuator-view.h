/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-bus.h>

#include "macro.h"

/* What the actuator last said. connected: the actuator is there and has a host and a device behind it. */
struct actuator_view {
    bool connected;
    bool host_connected;
    bool guard_held; /* tasks wait at a line of the guard */
    uint64_t boot_size;
    uint64_t size;
    uint64_t requested_size;
    uint64_t min_size;
    uint64_t max_size;
    uint64_t host_min_size;
    uint64_t host_max_size;
    uint64_t block_size;
    uint64_t memory_block_size;
    uint64_t guard_headroom; /* what the guard is armed with, 0: disarmed */
    uint64_t reserved_bytes;
};

/* Reads a{sv} of properties into the view; anything else in it is skipped. Negative errno when the message
 * cannot be read; fields read before that have moved then, so read into a copy. */
int actuator_view_read(struct actuator_view *v, sd_bus_message *m);
