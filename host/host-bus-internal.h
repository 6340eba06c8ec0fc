/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-bus.h>

#include "authorize.h"
#include "host-bus.h"
#include "system-bus.h"

struct host_bus;

/* What the properties of one VM are, in the order and the types that sd-bus reads by offset. */
struct vm_shown {
    struct host_bus *bus;
    struct vm *vm;
    const char *name, *state, *level, *agent, *pause_reason;
    uint64_t size, requested_size, boot_size, min_size, max_size;
    uint64_t available, total, held;
    uint64_t paused_until; /* CLOCK_REALTIME µs */
    uint32_t weight, process;
    unsigned pauses;
    struct vm_answer last_grant, last_refusal; /* time: CLOCK_REALTIME µs */
    uint64_t granted, refused;                 /* the same of a clock that is not set */
};

struct host_shown {
    struct host_bus *bus;
    const char *version;
    uint64_t reserve, total, available, promised;
    int over_commit;
    uint32_t pressure10, vms;
};

struct host_bus {
    struct host *host;
    struct system_bus *system;
    struct authorize *authorize;
    sd_event_source *timer;
    GHashTable *vms; /* name → struct told_vm */
    GQueue *dirty;   /* of struct told_vm, borrowed: what has to be looked at */
    uint64_t refused_at;
    unsigned refused; /* signals since then */

    /* What the object is that sd-bus is about to read. */
    struct vm_shown vm;
    struct host_shown shown;
};

/* host-methods.c */
extern const struct authorize_rule host_methods_rules[];
/* The handlers of every method; userdata is what the object's find function gave. */
int host_method_handle(sd_bus_message *m, void *userdata, sd_bus_error *error);
int host_method_vm_handle(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* host-bus.c */
struct vm *host_bus_find(const struct host_bus *b, const char *path); /* NULL: no such VM */
