/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* Largest file the readers take: /proc/zoneinfo of a many-node machine is the biggest; more is -EFBIG. */
#define PROCFILE_MAX (256UL * 1024)

/* Reads a whole small file from the start of an open fd (pread, so the fd can be kept open and read again:
 * opening needs memory just when there is none). NUL-terminates. -EFBIG when it does not fit in size - 1. */
int procfile_read_fd(int fd, char *buf, size_t size, size_t *ret_len);
int procfile_read(const char *path, char *buf, size_t size, size_t *ret_len);

/* Reads a single unsigned number (decimal, or hex without 0x when base is 16) and an optional newline. */
int procfile_read_u64(const char *path, int base, uint64_t *ret);

/* Writes text in one write(). Errors of the write come back as they are (-EINVAL, -EBUSY …). */
int procfile_write(const char *path, const char *text);
