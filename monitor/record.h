/* SPDX-License-Identifier: MIT */
#pragma once

#include "decide.h"

/* Writes each sample and its decision as a line of CSV. vmtide-replay reads the first columns:
 *   time_s        seconds since the first line, strictly increasing
 *   used_bytes    MemTotal - MemFree - cached_bytes: memory that the guest cannot free without swapping
 *   cached_bytes  Buffers + Cached - Shmem + SReclaimable: memory that is available although it is not free
 * MemTotal - used_bytes is thus the available memory plus the kernel's watermarks. The name of a column ends
 * with its unit; the cell of an unknown value is empty. */
struct recorder;

/* Creates the file; -EEXIST when it exists. */
int recorder_open(const char *path, struct recorder **ret);

/* Appends a line; now: µs, monotonic. Without meminfo it writes no line. A line reaches the file after some
 * seconds, or when the recorder is freed. The first error (such as a full disk) is logged and ends the
 * recording after its last complete line. A NULL recorder is ignored. */
void recorder_write(
        struct recorder *r, uint64_t now, const struct decide_sample *p, const struct decision *d);

struct recorder *recorder_free(struct recorder *r);
