/* SPDX-License-Identifier: MIT */
#pragma once

#include <jansson.h>
#include <systemd/sd-bus.h>

#include "fault.h"
#include "message-json.h"

/* The daemons on the bus, as a caller sees them. Whatever fails is said on stderr here, once, and comes back
 * as
 * -(exit status). */
struct client {
    sd_bus *bus;
    bool own_bus; /* not the system's: no agent is listening there */
    bool ask_password;
};

struct client_daemon {
    const char *name; /* on the bus, and of the interface */
    const char *path;
    const char *key; /* in --json */
};
extern const struct client_daemon client_actuator, client_monitor, client_host;

/* address NULL: the system bus. */
int client_open(const char *address, bool ask_password, struct client *ret);
void client_close(struct client *c);

/* A call that somebody must be authorised for; an agent is there to ask for a password while it waits. */
int client_act(struct client *c, const struct client_daemon *d, const char *member,
        sd_bus_message **ret_reply, const char *types, ...);

/* Everything that the daemons tell, as state.h describes it. Daemons that do not run are null in it. */
int client_read_state(struct client *c, uint32_t decisions, json_t **ret);
int client_reservations(struct client *c, json_t **ret);
int client_explain(struct client *c, uint32_t count, json_t **ret);

/* Everything that the host's daemon tells: "Host1", its properties, and "VMs", an array of theirs by name. */
int client_read_host(struct client *c, json_t **ret);
/* A call on a VM's object, as client_act(). */
int client_act_vm(struct client *c, const char *vm, const char *member, const char *types, ...);

/* Says what failed and what to do. Returns -(exit status). */
int client_fail(const char *what, int r, const sd_bus_error *error);
