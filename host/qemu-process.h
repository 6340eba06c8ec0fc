/* SPDX-License-Identifier: MIT */
#pragma once

#include <sys/types.h>

#include "macro.h"

/* Opens PROCFS/PID/statm of a QEMU. The open file stays bound to the process: when that has gone, its number
 * may be another one's, and reading says -ESRCH. */
int qemu_process_open(const char *procfs, pid_t pid, int *ret_fd);

/* Resident memory in bytes. -ESRCH: it has gone (or is a zombie, which holds none); -EBADMSG: not a statm
 * file. */
int qemu_process_rss(int statm_fd, uint64_t *ret);
