/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "actuator-config.h"
#include "channel.h"
#include "actuator-limits.h"

/* The state machine: takes requests, holds the limits, asks the host, follows the size. */
struct actuator;

#define ACTUATOR_QUEUE_MAX 16u
#define ACTUATOR_REASON_MAX 127u

/* What D-Bus shows; the members' order is nobody's interface. */
struct actuator_view {
    uint64_t size;
    uint64_t requested_size;
    uint64_t boot_size;
    uint64_t min_size;
    uint64_t max_size;
    uint64_t host_min_size;
    uint64_t host_max_size;
    uint64_t block_size;
    uint64_t memory_block_size;
    uint64_t guard_headroom;
    uint64_t reserved_bytes;
    int host_connected;
    int guard_held;
    char state[16];
    char last_error[LIMITS_TEXT_MAX];
};

struct actuator_ops {
    void (*changed)(const struct actuator_view *v, void *userdata);
    void (*size_changed)(uint64_t old, uint64_t new, const char *reason, void *userdata);
    void (*refused)(const char *verb, uint64_t bytes, const char *error, const char *text, void *userdata);
    void (*shrink_requested)(uint64_t id, uint64_t size, const char *reason, void *userdata);
    void (*room)(void *userdata);
};

/* Called once for each request: error NULL and what the host granted, or the error's name and text. */
typedef void (*actuator_done_t)(uint64_t requested_size, const char *error, const char *text, void *userdata);

struct actuator_options {
    const struct actuator_config *config;
    const char *port; /* over the configuration's */
    const char *sysfs;
    const char *procfs;
    const char *cgroup;
    const char *guard_saved;
    const char *kernel_saved;
    const char *limits_saved;
};

int actuator_new(sd_event *event, const struct actuator_options *o, struct actuator **ret);
struct actuator *actuator_free(struct actuator *a);
void actuator_set_ops(struct actuator *a, const struct actuator_ops *ops, void *userdata);
void actuator_configure(struct actuator *a, const struct actuator_config *c);

/* Refuses every request that waits. */
void actuator_give_up(struct actuator *a, const char *text);

/* Whose request it is. What an administrator plugs by hand is a min size for 10 minutes, or until one
 * unplugs; only what is refused to the monitor says that growth is over; reservations have a rate and places
 * of their own, so that who may reserve cannot keep the monitor from growing. */
enum actuator_origin {
    ACTUATOR_MONITOR,
    ACTUATOR_MANUAL,
    ACTUATOR_RESERVATION,
    _ACTUATOR_ORIGIN_MAX,
    _ACTUATOR_ORIGIN_INVALID = -EINVAL,
};
void actuator_request(struct actuator *a, enum limits_verb verb, uint64_t bytes, const char *reason,
        enum actuator_origin origin, actuator_done_t done, void *userdata);
/* Plugs up to a size, for a reservation: nothing, when that is there when its turn comes. */
void actuator_request_size(
        struct actuator *a, uint64_t size, const char *reason, actuator_done_t done, void *userdata);
/* -EBUSY with a text: reservations come too fast. */
int actuator_may_reserve(struct actuator *a, char ret_text[static LIMITS_TEXT_MAX]);
/* Limits over the configuration's; max 0: the host's alone; UINT64_MAX: the one in force stays; both: the
 * configuration's again. persist: that outlives this process and a reboot.
 * -EINVAL or -EIO with the D-Bus error's name and a text; nothing has changed then. */
int actuator_set_limits(struct actuator *a, uint64_t min, uint64_t max, bool persist, const char **ret_error,
        char ret_text[static LIMITS_TEXT_MAX]);
/* What is reserved, and the size that keeps it. */
void actuator_set_reserved(struct actuator *a, uint64_t bytes, uint64_t floor);
/* -ENOTCONN without a host, -EBUSY when reports come too fast. */
int actuator_report(
        struct actuator *a, uint64_t available, uint64_t total, uint32_t some10, enum channel_level level);
/* -ENOENT: the host did not ask by that id. */
int actuator_decline_shrink(struct actuator *a, uint64_t id, enum channel_code code);
/* Arms the guard for as long as it is called again within 5 s and the caller stays; headroom 0 disarms.
 * -ERANGE: more than the MemTotal in *ret_total. */
int actuator_arm_guard(struct actuator *a, uint64_t headroom, const char *caller, uint64_t *ret_total);
/* Callers whose names begin like that have left. */
void actuator_caller_gone(struct actuator *a, const char *prefix);
