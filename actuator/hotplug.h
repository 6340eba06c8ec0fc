/* SPDX-License-Identifier: MIT */
#pragma once

#include "bytes.h"

/* The guest kernel's side of memory hotplug, in sysfs. sysfs is "/sys", procfs "/proc". */

enum hotplug_onlining {
    HOTPLUG_AUTO, /* all movable while max size <= 3 x boot memory, else auto-movable */
    HOTPLUG_MOVABLE,
    HOTPLUG_AUTO_MOVABLE,
    HOTPLUG_KEEP, /* what the administrator has set, unless it is offline, which becomes online */
    _HOTPLUG_ONLINING_MAX,
    _HOTPLUG_ONLINING_INVALID = -EINVAL,
};

/* Number of virtio-mem devices that the driver holds; negative errno. */
int hotplug_count_devices(const char *sysfs);
int hotplug_memory_block_size(const char *sysfs, uint64_t *ret);
/* Boot memory in bytes: System RAM of the firmware's map, which driver-managed memory never enters; MemTotal
 * where there is no such map. (/proc/iomem shows its addresses to CAP_SYS_ADMIN only.) */
int hotplug_boot_size(const char *sysfs, const char *procfs, uint64_t *ret);

/* AUTO resolved. Movable memory beyond 3 to 4 x boot memory starves the kernel zones. max_size UINT64_MAX:
 * not known yet, which gets the policy that is safe for any size. */
enum hotplug_onlining hotplug_choose(enum hotplug_onlining wanted, uint64_t boot_size, uint64_t max_size);

/* Puts the policy into force where it is not yet. 1: it was changed, 0: it stood already. Never leaves
 * "offline". */
int hotplug_set_policy(const char *sysfs, enum hotplug_onlining policy);

/* Has the kernel bring the blocks that are added from now on online in a kernel zone, until
 * hotplug_set_policy(). */
int hotplug_set_kernel_policy(const char *sysfs);

/* Brings the hot-added blocks online that wait offline: the driver adds blocks before any daemon runs, and
 * stops for good at 1 GiB of them. Blocks of boot memory are left alone, somebody put those offline on
 * purpose. Returns how many came online; *ret_failed: how many would not. */
int hotplug_online_waiting(const char *sysfs, enum hotplug_onlining policy, unsigned *ret_failed);

const char *hotplug_onlining_to_string(enum hotplug_onlining o);
extern const char *const hotplug_onlining_names[];
