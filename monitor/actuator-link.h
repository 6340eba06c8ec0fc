/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "actuator-view.h"
#include "macro.h"

/* The monitor's connection to the actuator's private socket: D-Bus without a bus daemon. It reconnects
 * automatically. */
struct actuator_link;

struct actuator_link_ops {
    void (*changed)(void *userdata); /* the view has changed */
    void (*connected)(void *userdata);
    /* The reply to actuator_link_resize(); error is NULL when granted. */
    void (*answered)(uint64_t requested_size, const char *error, const char *text, void *userdata);
    /* The reply to actuator_link_reclaim(): the reclaimed bytes of page cache, or an error name. Required
     * only for callers of actuator_link_reclaim(). */
    void (*reclaimed)(uint64_t bytes, const char *error, void *userdata);
    void (*trigger)(bool hard, int fd, void *userdata); /* the callee owns fd; negative errno when refused */
    void (*shrink_requested)(uint64_t id, uint64_t size, const char *reason, void *userdata);
    void (*room)(void *userdata);
    void (*lost)(void *userdata);
};

int actuator_link_new(sd_event *event, const char *socket_path, const struct actuator_link_ops *ops,
        void *userdata, struct actuator_link **ret);
struct actuator_link *actuator_link_free(struct actuator_link *l);

const struct actuator_view *actuator_link_view(const struct actuator_link *l);

/* Calls Plug or Unplug; only one may be under way (-EBUSY). answered is always called, at the latest on
 * timeout. */
int actuator_link_resize(struct actuator_link *l, bool plug, uint64_t bytes, const char *reason);
int actuator_link_report(
        struct actuator_link *l, uint64_t available, uint64_t total, uint32_t some10, const char *level);
int actuator_link_decline(struct actuator_link *l, uint64_t id, const char *code);
int actuator_link_open_trigger(struct actuator_link *l, bool hard, uint64_t stall_usec, uint64_t window_usec);

/* Requests the reclaim of cold page cache; only one may be under way (-EBUSY). reclaimed is always called, at
 * the latest on timeout. */
int actuator_link_reclaim(struct actuator_link *l, uint64_t bytes);
/* Arms the guard with this headroom (bytes; 0 disarms). There is no reply; the view has the headroom in
 * force. */
int actuator_link_arm_guard(struct actuator_link *l, uint64_t headroom);
