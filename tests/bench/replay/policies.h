/* SPDX-License-Identifier: MIT */
#pragma once

#include "decide.h"
#include "model.h"

/* The policy that resizes the guest: vmtide's decision, or the rule of another project. */
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

/* Indexed by enum policy, NULL-terminated. */
extern const char *const policy_names[];

/* Returns the size that a rule wants now, and the time to its next evaluation (µs). Not for POLICY_VMTIDE. */
uint64_t policy_wants(enum policy p, const struct model *m, uint64_t *ret_wait);
