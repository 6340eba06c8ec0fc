/* SPDX-License-Identifier: MIT */
#pragma once

#include "guard-cgroup.h"

/* What the administrator's values were, on disk (/run/vmtide/guard) before a line of ours is written: an
 * actuator that is killed leaves it to `vmtide-actuator --disarm`, which systemd runs after it. A key file:
 * group [Guard], one key for each cgroup, with "max" or bytes. */

/* Atomic: the file is the old one or the new one. Slices whose limit is not known yet are left out. */
int guard_saved_write(const char *path, const struct guard_cgroup *cgroups, size_t n);

/* Writes the values back and removes the file; no such file: nothing to do. Slices that are gone are fine.
 * Returns how many were written, or the first error after having tried them all. */
int guard_saved_restore(const char *path, const char *cgroup);
