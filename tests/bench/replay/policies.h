/* SPDX-License-Identifier: MIT */
#pragma once

#include "decide.h"
#include "model.h"

/* Who resizes the guest: the real decision, or a rule that others use. */
enum policy {
    POLICY_VMTIDE,
    POLICY_FIXED,
    POLICY_HYPERALLOC,
    POLICY_PROXMOX,
    POLICY_MOM,
    POLICY_BALANCER,
    POLICY_NEON,
    _POLICY_MAX,
    _POLICY_INVALID = -EINVAL,
};

/* NULL-terminated, in the order of the enum. */
extern const char *const policy_names[];

/* The size that a rule wants now, and when it looks again (µs). Not for POLICY_VMTIDE. */
uint64_t policy_wants(enum policy p, const struct model *m, uint64_t *ret_wait);
