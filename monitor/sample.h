/* SPDX-License-Identifier: MIT */
#pragma once

#include "decide.h"

/* Reads the kernel's memory statistics. The files stay open, since opening one needs memory when none may be
 * free. */
struct sampler {
    int meminfo_fd;
    int zoneinfo_fd;
    int vmstat_fd;
    int pressure_fd;
    uint64_t slow_time; /* when vmstat and pressure were last read */
    struct decide_sample last;
    char buffer[64 * 1024];
};

/* Opens the files under procfs ("/proc"). Without one of them its values are unknown; missing pressure is
 * logged. Returns negative errno only when meminfo cannot be opened. */
int sampler_open(struct sampler *s, const char *procfs);
void sampler_close(struct sampler *s);

/* Fills the kernel's part of *p. Reads meminfo and zoneinfo each time, and the others every 100 ms at most:
 * frequent reads of the PSI file suppress the events of triggers. now: µs. */
void sampler_read(struct sampler *s, uint64_t now, struct decide_sample *p);

/* Measures the bytes per second that all processors together can touch: touches new memory for a few ms on
 * one processor and multiplies by their number. */
uint64_t sampler_measure_fastest(void);
