/* SPDX-License-Identifier: MIT */
#pragma once

#include "hotplug.h"
#include "log.h"

/* Keeps plugged memory from staying offline, and says what it did. */
struct onlining {
    const char *sysfs;
    enum hotplug_onlining wanted;
    uint64_t boot_size;
    bool kernel; /* a memory block is on its way to a kernel zone: the policy waits for it */
    struct log_repeat fault;
};

/* Checks the policy and puts it right; brings waiting blocks online when the policy was not right, or when
 * look_again is set (it reads a file for each memory block: too much for every request). max_size: the
 * smaller of the actuator's and the host's, UINT64_MAX when not known. */
void onlining_keep(struct onlining *o, uint64_t max_size, bool look_again);

/* Brings what is plugged next online in a kernel zone, until onlining_end_kernel() and onlining_keep().
 * -EOPNOTSUPP: Onlining=keep leaves the choice to the administrator. */
int onlining_begin_kernel(struct onlining *o);
void onlining_end_kernel(struct onlining *o);
