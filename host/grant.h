/* SPDX-License-Identifier: MIT */
#pragma once

#include "channel.h"

/* What a VM may have, in bytes of all its devices together; multiples of block_size. */
struct grant_limits {
    uint64_t min_size;
    uint64_t max_size;
    uint64_t block_size;
};

/* What it has. */
struct grant_vm {
    uint64_t requested_size;
    uint64_t committed; /* the larger of size and requested size, summed over the devices: what the host owes
                         */
};

/* What the host has, in bytes. */
struct grant_host {
    bool known;         /* the numbers could be read */
    uint64_t available; /* MemAvailable */
    uint64_t reserve;   /* never granted */
    uint64_t promised;  /* granted to any VM and not touched yet: MemAvailable still counts it */
    uint64_t held;      /* of what is left, for others who want it too */
};

enum grant_verdict {
    GRANT_FULL,
    GRANT_PART,
    GRANT_REFUSED,
    _GRANT_VERDICT_MAX,
    _GRANT_VERDICT_INVALID = -EINVAL,
};

struct grant {
    enum grant_verdict verdict;
    uint64_t requested_size; /* FULL, PART: the new requested size */
    enum channel_code code;  /* REFUSED */
    char text[256];          /* REFUSED: value, limit */
};

/* What growth can be paid with, in bytes; 0 when nothing is known. */
uint64_t grant_spendable(const struct grant_host *host);

/* Answers a request for a new requested size. Pure. A decrease down to min_size is always granted, also above
 * a max_size that was lowered; growth stays within max_size and costs what it adds to committed. */
void grant_decide(const struct grant_limits *limits, const struct grant_vm *vm, const struct grant_host *host,
        uint64_t wanted, struct grant *ret);
