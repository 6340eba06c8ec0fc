/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* /proc/meminfo, in bytes. */
struct meminfo {
    uint64_t total;
    uint64_t free;
    uint64_t available;
    uint64_t buffers;
    uint64_t cached;
    uint64_t swap_total;
    uint64_t swap_free;
    uint64_t shmem;
    uint64_t active_file;
    uint64_t inactive_file;
    uint64_t sreclaimable;
};

/* Every field above is required exactly once, unknown ones are ignored. -EBADMSG: a field missing, double or
 * not a number in kB; -ERANGE: impossible (total 0, free > total, swap_free > swap_total, overflow).
 * MemAvailable may exceed MemTotal - MemFree but not MemTotal. *ret is untouched on failure. */
int meminfo_parse(const char *text, struct meminfo *ret);
int meminfo_read(const char *path, struct meminfo *ret);
