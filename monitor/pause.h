/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "macro.h"

/* A pause by a D-Bus client. It ends by its timer, by Resume or with the monitor's process. */
struct pause {
    sd_event_source *timer;
    uint64_t until; /* CLOCK_REALTIME µs; 0: not paused; UINT64_MAX: until pause_end() */
    char reason[128];
    void (*changed)(void *userdata);
    void *userdata;
};

/* Calls changed when a pause begins or ends. */
int pause_init(struct pause *p, sd_event *event, void (*changed)(void *userdata), void *userdata);
void pause_done(struct pause *p);

/* Pauses for seconds; 0: until pause_end(). */
void pause_begin(struct pause *p, const char *why, uint32_t seconds);
void pause_end(struct pause *p);
