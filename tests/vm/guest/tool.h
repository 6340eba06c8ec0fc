/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>

/* What the workloads of the guest have in common: the clock of their events, and their options' numbers. */

/* CLOCK_MONOTONIC in µs. */
uint64_t now_us(void);
void sleep_until_us(uint64_t when);

/* Size with an optional suffix K, M, G or T (powers of 1024), as QEMU takes it. -EINVAL, -ERANGE. */
int parse_size(const char *text, uint64_t *ret_size);
/* -EINVAL: not a whole number from min to max. */
int parse_count(const char *text, unsigned min, unsigned max, unsigned *ret_n);
