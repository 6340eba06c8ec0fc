/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* Smallest window given out: shorter ones would wake a listener more often than a sample is worth. */
#define TRIGGER_WINDOW_MIN_USEC (50 * USEC_PER_MSEC)

/* -EINVAL: the kind is neither some nor full, or the times are out of bounds. */
int trigger_check(const char *kind, uint64_t stall_usec, uint64_t window_usec);

/* Opens a pressure trigger; polling the fd needs no privilege. -EINVAL: out of bounds or refused by the
 * kernel; -EOPNOTSUPP, -ENOENT: the kernel has no PSI. */
int trigger_open(
        const char *procfs, const char *kind, uint64_t stall_usec, uint64_t window_usec, int *ret_fd);
