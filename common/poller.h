/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "macro.h"

/* Many fds as one source of an event loop. sd-event asks the kernel anew after each single event and marks
 * all that are ready each time: with 1,000 of them ready each event cost 0.3 ms, and a daemon that had fallen
 * behind never caught up again. Here up to 32 are served before the loop turns. One loop in a process. */

struct poller_watch {
    int fd;
    uint32_t events; /* of epoll; 0: not watched, hang-ups neither */
    void (*ready)(uint32_t revents, void *userdata);
    void *userdata;
};

/* fd, ready and userdata are set; w stays where it is until poller_remove(). -EBUSY: there is another loop.
 */
int poller_add(sd_event *event, struct poller_watch *w, uint32_t events);
int poller_set(struct poller_watch *w, uint32_t events);
/* From inside of ready() too. */
void poller_remove(struct poller_watch *w);
