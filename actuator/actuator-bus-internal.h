/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-bus.h>

#include "actuator-bus.h"
#include "authorize.h"
#include "callers.h"
#include "peers.h"
#include "reserve.h"
#include "reclaim-worker.h"
#include "system-bus.h"

struct actuator_bus {
    sd_event_source *changes_timer;
    sd_event_source *exit;
    struct system_bus *system;
    char *procfs;
    struct peers *peers;
    struct authorize *authorize;
    struct reclaim_worker *reclaim;
    struct actuator *actuator;
    struct reserve *reserve;
    uid_t monitor_uid;
    struct actuator_view view; /* what the properties are */
    struct actuator_view told; /* what the bus was told last */
    uint64_t told_at;
    struct callers callers;
};

/* Who may call what. */
extern const struct authorize_rule methods_rules[];

/* Handler of every method in the vtable; userdata is the actuator_bus. */
int methods_handle(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* Of methods-admin.c. */
int check_set_limits(sd_bus_message *m, void *userdata, sd_bus_error *error);
int apply_set_limits(sd_bus_message *m, void *userdata, sd_bus_error *error);
int check_reserve(sd_bus_message *m, void *userdata, sd_bus_error *error);
int apply_reserve(sd_bus_message *m, void *userdata, sd_bus_error *error);
int check_list(sd_bus_message *m, void *userdata, sd_bus_error *error);
int apply_list(sd_bus_message *m, void *userdata, sd_bus_error *error);
