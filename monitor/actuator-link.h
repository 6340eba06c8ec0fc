/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "actuator-view.h"
#include "macro.h"

/* The monitor's line to the actuator: its private socket, D-Bus without a bus daemon. Reconnects by itself.
 */
struct actuator_link;

struct actuator_link_ops {
    void (*changed)(void *userdata); /* something in the view is new */
    void (*connected)(void *userdata);
    /* The answer to actuator_link_resize(): error name NULL when granted. */
    void (*answered)(uint64_t requested_size, const char *error, const char *text, void *userdata);
    /* The answer to actuator_link_reclaim(): bytes of page cache that went, or an error name. Needed only by
     * who calls it. */
    void (*reclaimed)(uint64_t bytes, const char *error, void *userdata);
    void (*trigger)(
            bool hard, int fd, void *userdata); /* fd is the receiver's now; negative errno when refused */
    void (*shrink_requested)(uint64_t id, uint64_t size, const char *reason, void *userdata);
    void (*room)(void *userdata);
    void (*lost)(void *userdata);
};

int actuator_link_new(sd_event *event, const char *socket_path, const struct actuator_link_ops *ops,
        void *userdata, struct actuator_link **ret);
struct actuator_link *actuator_link_free(struct actuator_link *l);

const struct actuator_view *actuator_link_view(const struct actuator_link *l);

/* Plug or Unplug; exactly one may be under way (-EBUSY). Always answered, at the latest by time-out. */
int actuator_link_resize(struct actuator_link *l, bool plug, uint64_t bytes, const char *reason);
int actuator_link_report(
        struct actuator_link *l, uint64_t available, uint64_t total, uint32_t some10, const char *level);
int actuator_link_decline(struct actuator_link *l, uint64_t id, const char *code);
int actuator_link_open_trigger(struct actuator_link *l, bool hard, uint64_t stall_usec, uint64_t window_usec);

/* Asks for bytes of cold page cache; one at a time (-EBUSY). Always answered, at the latest by time-out. */
int actuator_link_reclaim(struct actuator_link *l, uint64_t bytes);
/* Arms the guard with this headroom (bytes; 0 disarms). No answer: what holds is in the view. */
int actuator_link_arm_guard(struct actuator_link *l, uint64_t headroom);
