/* SPDX-License-Identifier: MIT */
#pragma once

#include "hotplug.h"
#include "log.h"

/* Keeps plugged memory from staying offline, and says what it did. */
struct onlining {
    const char *sysfs;
    enum hotplug_onlining wanted;
    uint64_t boot_size;
    struct log_repeat fault;
};

/* Checks the policy and puts it right; brings waiting blocks online when the policy was not right, or when
 * look_again is set (it reads a file for each memory block: too much for every request). max_size: the
 * smaller of the actuator's and the host's, UINT64_MAX when not known. */
void onlining_keep(struct onlining *o, uint64_t max_size, bool look_again);
