/* SPDX-License-Identifier: MIT */
#pragma once

#include "grant.h"

/* Many VMs and not enough memory: who gets how much of what is left, and who is asked to give back. Pure. */

#define SHARE_WEIGHT_DEFAULT 100u
#define SHARE_WEIGHT_MAX 10000u

struct share_vm {
    uint32_t weight;    /* 1 to SHARE_WEIGHT_MAX */
    uint64_t committed; /* bytes that the host owes it */
    uint64_t claim;     /* bytes that it wants beyond that; 0: none */
    bool urgent;        /* it says that it is short of memory, not just growing */
    uint64_t coming;    /* bytes on their way back: asked for, or being unplugged */
    uint64_t spare;     /* bytes that it could give back; 0: none, or not to be asked now */
};

/* What a guest that says these numbers could give back without harm, in bytes: what is available beyond the
 * headroom that guests keep. 0 when that is less than a Linux memory block. Believed only so far that it is
 * asked. */
uint64_t share_spare(uint64_t available, uint64_t total, uint64_t requested_size, uint64_t min_size);

/* Divides spendable among the claims: all to each when there is enough. Else those that are urgent come
 * first, and within each kind those that have least for their weight, until they have as much for it as the
 * others. The sum is never more than spendable, none more than its claim; memory that somebody claims is not
 * left over. */
void share_out(const struct share_vm *vms, size_t n, uint64_t spendable, uint64_t ret_give[]);

/* Divides wanted bytes among those with spare memory, most spare first: as few are asked as will do. */
void share_ask(const struct share_vm *vms, size_t n, uint64_t wanted, uint64_t ret_ask[]);
