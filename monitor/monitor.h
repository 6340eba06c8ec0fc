/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "low-memory.h"
#include "monitor-config.h"
#include "notes.h"
#include "pause.h"

/* The loop: samples when the decision says so, carries the decision to the actuator and its answer back. It
 * moves data and decides nothing. */
struct monitor;

struct monitor_ops {
    void (*level_changed)(enum channel_level old, enum channel_level new, void *userdata);
    void (*decided)(const struct monitor_note *note, void *userdata);
    void (*mode_changed)(void *userdata); /* or a pause's end or reason */
    void (*headroom_changed)(void *userdata);
    void (*configured)(void *userdata); /* with the mode that holds now */
    void (*low_memory)(enum low_memory_level level, const struct decision *d, void *userdata);
};

struct monitor_options {
    const struct monitor_config *config;
    const char *procfs;
    const char *cgroup; /* where the unified hierarchy is mounted */
    const char *socket;
    struct recorder *recorder; /* NULL: nothing is recorded; stays the caller's */
};

int monitor_new(sd_event *event, const struct monitor_options *o, struct monitor **ret);
struct monitor *monitor_free(struct monitor *m);
void monitor_set_ops(struct monitor *m, const struct monitor_ops *ops, void *userdata);

/* Puts a new configuration into force; the state of the decision stays. */
void monitor_configure(struct monitor *m, const struct monitor_config *c);

/* To pause and to resume: it decides then and does nothing. */
struct pause *monitor_pause(struct monitor *m);

enum monitor_mode monitor_mode(const struct monitor *m);
enum channel_level monitor_level(const struct monitor *m);
bool monitor_warns_programs(const struct monitor *m);
uint64_t monitor_available(const struct monitor *m);
uint64_t monitor_headroom(const struct monitor *m);
uint32_t monitor_some10(const struct monitor *m);
/* The newest note is back 0; NULL: there are not that many. */
const struct monitor_note *monitor_note(const struct monitor *m, uint32_t back);
