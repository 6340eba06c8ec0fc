/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* Limits that an administrator set to stay: a small file that is replaced whole or not at all. */

#define SAVED_LIMITS_PATH "/var/lib/vmtide/limits"

/* Bytes. max UINT64_MAX: the host's alone. -EIO with *ret_error in words (g_free). */
int saved_limits_write(const char *path, uint64_t min, uint64_t max, char **ret_error);

/* Forgets them; nothing saved is fine. -EIO with *ret_error. */
int saved_limits_remove(const char *path, char **ret_error);

/* -ENOENT: nothing was saved. -EBADMSG: it cannot be read, and is not believed. */
int saved_limits_read(const char *path, uint64_t *ret_min, uint64_t *ret_max);
