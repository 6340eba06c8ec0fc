/* SPDX-License-Identifier: MIT */
#pragma once

#include "bytes.h"

/* What a request may become, pure. Holds whatever the monitor or a bus client says. */
enum limits_verb {
    LIMITS_PLUG,
    LIMITS_UNPLUG,
    _LIMITS_VERB_MAX,
    _LIMITS_VERB_INVALID = -EINVAL,
};

struct limits {
    bool device; /* there is a virtio-mem device */
    bool host;   /* and a host that answers */
    uint64_t size;
    uint64_t requested_size;
    uint64_t min_size; /* the actuator's own */
    uint64_t max_size;
    uint64_t floor;         /* what an administrator plugged and what was reserved: a min size for a time */
    uint64_t host_min_size; /* the host's */
    uint64_t host_max_size;
    uint64_t block_size;
};

#define LIMITS_TEXT_MAX 256

/* The larger minimum and the smaller maximum, rounded to blocks inwards; max wins when they cross. */
uint64_t limits_effective_min(const struct limits *l);
uint64_t limits_effective_max(const struct limits *l);

/* For limits_set(): the one in force stays. */
#define LIMITS_KEEP UINT64_MAX

/* New limits of the actuator's own. max 0: the host's alone. -EINVAL with the D-Bus error's name and a text:
 * min over max, max less than a block, or more than the host allows. */
int limits_set(struct limits *l, uint64_t min, uint64_t max, const char **ret_error,
        char ret_text[static LIMITS_TEXT_MAX]);

/* The part of limits_target() that needs no wait for requests before this one: 0 bytes, no device, no host.
 */
int limits_check(const struct limits *l, enum limits_verb verb, uint64_t bytes, const char **ret_error,
        char ret_text[static LIMITS_TEXT_MAX]);

/* Returns 0 and the size to request from the host: growth counts from the larger of size and requested size
 * (it cancels any shrink), rounded up; a shrink from the requested size, rounded down. Else -EINVAL with the
 * D-Bus error's name and a text that names the value and the limit. */
int limits_target(const struct limits *l, enum limits_verb verb, uint64_t bytes, uint64_t *ret_target,
        const char **ret_error, char ret_text[static LIMITS_TEXT_MAX]);

/* A shrink below what is in use gets applications killed. This much stays available over the one to target,
 * whatever the monitor says; its own headroom is never under 192 MiB. -EINVAL as above. */
#define LIMITS_LEAVE MIB(128)
int limits_leave(const struct limits *l, uint64_t target, uint64_t available, const char **ret_error,
        char ret_text[static LIMITS_TEXT_MAX]);

const char *limits_verb_to_string(enum limits_verb verb);
