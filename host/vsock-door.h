/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "macro.h"

/* Where guests come in over vsock. Which VM somebody is of the kernel says, by the CID, which the guest
 * cannot choose; that it is the guest's root is said by a port that nobody else in the guest may bind. */
struct vsock_door;

/* Takes fd over, but not on failure. -ENOENT: no VM has this CID; -EBUSY: it is not let in now. */
typedef int (*vsock_door_enter_t)(uint32_t cid, int fd, void *userdata);

int vsock_door_new(
        sd_event *event, uint32_t port, vsock_door_enter_t enter, void *userdata, struct vsock_door **ret);
struct vsock_door *vsock_door_free(struct vsock_door *d);
