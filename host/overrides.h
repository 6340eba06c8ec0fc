/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* What an administrator set at run time over the configuration, by VM: limits and weight, and what of it is
 * to outlive the daemon in a small file that is replaced whole or not at all. */
struct overrides;

#define OVERRIDES_PATH "/var/lib/vmtide-host/limits"
/* VMs that something was set for. */
#define OVERRIDES_MAX 4096u

struct override {
    bool has_limits;
    bool has_weight;
    uint64_t min_size; /* bytes */
    uint64_t max_size; /* UINT64_MAX: what the devices can hold */
    uint32_t weight;
};

/* Reads the file; one that is not there is empty, one that cannot be read is said and left alone, and
 * nothing is saved until it was mended or taken away and read again. path NULL: nothing is kept. */
struct overrides *overrides_new(const char *path);
struct overrides *overrides_free(struct overrides *o);

/* Zero when nothing was set. */
void overrides_get(const struct overrides *o, const char *name, struct override *ret);

enum override_part {
    OVERRIDE_LIMITS = 1 << 0,
    OVERRIDE_WEIGHT = 1 << 1,
    OVERRIDE_BOTH = OVERRIDE_LIMITS | OVERRIDE_WEIGHT,
};

/* Sets these parts of one, the other part stays. persist: the file has them too afterwards, or no longer when
 * they are not set. Otherwise the file stays as it is, as does one that could not be read at the start. -EIO
 * with *ret_error (g_free), and nothing has changed. */
int overrides_set(struct overrides *o, const char *name, enum override_part parts, const struct override *one,
        bool persist, char **ret_error);
