/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "macro.h"

/* A pause that somebody asked for: until when, why, and its end by itself. It ends with the monitor. */
struct pause {
    sd_event_source *timer;
    uint64_t until; /* CLOCK_REALTIME µs; 0: none; UINT64_MAX: until it is ended */
    char reason[128];
    void (*changed)(void *userdata);
    void *userdata;
};

/* changed is called when one begins or ends. */
int pause_init(struct pause *p, sd_event *event, void (*changed)(void *userdata), void *userdata);
void pause_done(struct pause *p);

/* 0 seconds: until pause_end(). */
void pause_begin(struct pause *p, const char *why, uint32_t seconds);
void pause_end(struct pause *p);
