/* SPDX-License-Identifier: MIT */
#pragma once

#include "share.h"

/* What the host itself says, beside the VMs. */
struct balance_host {
    struct grant_host numbers; /* held: 0 */
    bool have_pressure;
    uint32_t pressure10; /* some, permyriad */
    uint64_t total;      /* MemTotal */
};

/* How much of what can be spent is not VM i's, in bytes: the parts of others that claim it too; all of it
 * when the host is under pressure and the VM is not short. Pure. */
uint64_t balance_held(const struct balance_host *host, const struct share_vm *vms, size_t n, size_t i);

/* How much memory should come back from the VMs, in bytes: what claims miss, what the reserve misses, and
 * under pressure a part of the host's memory. Pressure asks back before it refuses growth. Pure. */
uint64_t balance_wanted(const struct balance_host *host, const struct share_vm *vms, size_t n);
