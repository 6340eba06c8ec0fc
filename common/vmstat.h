/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* /proc/vmstat: event counters since boot, in pages or events. */
struct vmstat {
    uint64_t workingset_refault_anon;
    uint64_t workingset_refault_file;
    uint64_t pgscan_direct;
    uint64_t pgsteal_direct;
    uint64_t pgsteal_kswapd;
    uint64_t pswpin;
    uint64_t pswpout;
    uint64_t oom_kill;
};

/* Each field exactly once; pswpin and pswpout may be missing together (kernel without swap) and read as 0
 * then. -EBADMSG, -ERANGE as meminfo_parse(). */
int vmstat_parse(const char *text, struct vmstat *ret);
