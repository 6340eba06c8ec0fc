/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "actuator-limits.h"
#include "zoneinfo.h"

/* Keeps vm.overcommit_memory and vm.lowmem_reserve_ratio at what the size needs, and restores the
 * administrator's values at the end. */
struct kernel_settings;

struct kernel_settings_options {
    const char *procfs; /* "/proc" */
    const char *saved;  /* the administrator's values, "/run/vmtide/kernel" */
    uint64_t boot_size;
};

/* First restores what a killed actuator has left. Strings must outlive it. */
int kernel_settings_new(
        sd_event *event, const struct kernel_settings_options *o, struct kernel_settings **ret);
/* Restores the administrator's values. */
struct kernel_settings *kernel_settings_free(struct kernel_settings *k);

/* Which settings it may change; those it may not are restored at once. */
void kernel_settings_configure(struct kernel_settings *k, bool overcommit, bool reserve);

/* The limits, sizes or the host may have changed, or whether the guard may hold tasks back. Reads no file
 * when they have not. */
void kernel_settings_update(struct kernel_settings *k, const struct limits *l, bool may_hold);

/* Reads /proc/zoneinfo; *ret_reserve is what the kernel zones should keep from user pages, 0 while that is
 * not known or turned off. */
int kernel_settings_read_zones(
        const struct kernel_settings *k, struct zoneinfo *ret_zones, uint64_t *ret_reserve);
