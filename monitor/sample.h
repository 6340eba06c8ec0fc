/* SPDX-License-Identifier: MIT */
#pragma once

#include "decide.h"

/* Reads the kernel's files. The fds stay open: opening a file needs memory just when there is none. */
struct sampler {
    int meminfo_fd;
    int zoneinfo_fd;
    int vmstat_fd;
    int pressure_fd;
    uint64_t slow_time; /* when vmstat and pressure were read last */
    struct decide_sample last;
    char buffer[64 * 1024];
};

/* Opens what is there under procfs ("/proc"); a missing file is said and later counts as unknown. -errno only
 * when meminfo cannot be opened. */
int sampler_open(struct sampler *s, const char *procfs);
void sampler_close(struct sampler *s);

/* Fills the kernel's part of *p. meminfo and zoneinfo are read each time, the others at most every 100 ms:
 * reading the PSI file more often starves triggers of events. now in µs. */
void sampler_read(struct sampler *s, uint64_t now, struct decide_sample *p);

/* Bytes a second that all processors together could touch: one touches fresh memory for a few ms, times their
 * number. */
uint64_t sampler_measure_fastest(void);
