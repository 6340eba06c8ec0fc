/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "low-memory.h"
#include "monitor-config.h"
#include "notes.h"
#include "pause.h"

/* The event loop: samples when the decision asks for it, sends the decision to the actuator and returns its
 * reply to the decision. It moves data and decides nothing. */
struct monitor;

struct monitor_ops {
    void (*level_changed)(enum channel_level old, enum channel_level new, void *userdata);
    void (*decided)(const struct monitor_note *note, void *userdata);
    void (*mode_changed)(void *userdata); /* or the end or reason of a pause */
    void (*headroom_changed)(void *userdata);
    void (*configured)(void *userdata); /* the mode may have changed too */
    void (*low_memory)(enum low_memory_level level, const struct decision *d, void *userdata);
};

struct monitor_options {
    const struct monitor_config *config;
    const char *procfs;
    const char *cgroup; /* mount point of the unified hierarchy */
    const char *socket;
    struct recorder *recorder; /* NULL: record nothing; the caller keeps ownership */
};

int monitor_new(sd_event *event, const struct monitor_options *o, struct monitor **ret);
struct monitor *monitor_free(struct monitor *m);
void monitor_set_ops(struct monitor *m, const struct monitor_ops *ops, void *userdata);

/* Applies a new configuration; the state of the decision stays. */
void monitor_configure(struct monitor *m, const struct monitor_config *c);

/* For pause_begin() and pause_end(): while paused the monitor decides but sends no request. */
struct pause *monitor_pause(struct monitor *m);

enum monitor_mode monitor_mode(const struct monitor *m);
enum channel_level monitor_level(const struct monitor *m);
bool monitor_warns_programs(const struct monitor *m);
uint64_t monitor_available(const struct monitor *m);
uint64_t monitor_headroom(const struct monitor *m);
uint32_t monitor_some10(const struct monitor *m);
/* back 0 is the newest note. NULL: there are fewer notes. */
const struct monitor_note *monitor_note(const struct monitor *m, uint32_t back);
