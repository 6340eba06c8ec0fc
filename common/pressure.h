/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* One line of a PSI file: averages in permyriad (12.34 % is 1234), total in µs. */
struct pressure_line {
    uint32_t avg10;
    uint32_t avg60;
    uint32_t avg300;
    uint64_t total;
};

struct pressure {
    struct pressure_line some;
    struct pressure_line full;
};

/* Both lines exactly once. An average above 100 % or a field missing is -EBADMSG or -ERANGE. Reading a file
 * of a kernel with PSI off gives -EOPNOTSUPP (from read()) or -ENOENT. */
int pressure_parse(const char *text, struct pressure *ret);
int pressure_read(const char *path, struct pressure *ret);

/* The trigger line as the kernel wants it, NUL included in *ret_len: without the NUL the kernel overwrites
 * the last digit (kernel/sched/psi.c). kind is "some" or "full"; 0 < stall <= window <= 10 s, else -EINVAL.
 */
int pressure_trigger_format(
        const char *kind, uint64_t stall_usec, uint64_t window_usec, char *buf, size_t size, size_t *ret_len);
