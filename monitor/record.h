/* SPDX-License-Identifier: MIT */
#pragma once

#include "decide.h"

/* Writes each sample and the decision made from it as a line of CSV. The first columns are what vmtide-replay
 * reads:
 *   time_s        seconds since the first line, strictly increasing
 *   used_bytes    MemTotal - MemFree - cached_bytes: what the guest cannot give up without swapping
 *   cached_bytes  Buffers + Cached - Shmem + SReclaimable: what counts as available although it is not free
 * so that size - used_bytes is what is available, but for the kernel's watermarks. The unit is the end of a
 * column's name; a number that is not known is empty. */
struct recorder;

/* Makes the file; -EEXIST when there is one. */
int recorder_open(const char *path, struct recorder **ret);

/* now in µs, monotonic. Without meminfo there is no line. A line is in the file after some seconds, or when
 * the recorder is freed. The first error (a full disk) is logged and ends the recording behind its last whole
 * line. NULL records nothing. */
void recorder_write(
        struct recorder *r, uint64_t now, const struct decide_sample *p, const struct decision *d);

struct recorder *recorder_free(struct recorder *r);
