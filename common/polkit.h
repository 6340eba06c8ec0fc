/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-bus.h>

#include "macro.h"

/* polkit over its D-Bus interface, never waited for. */

/* With a person to type a password it may take minutes, without one it is a look at rules. */
#define POLKIT_TIMEOUT_USEC (10 * USEC_PER_SEC)
#define POLKIT_INTERACTIVE_TIMEOUT_USEC (120 * USEC_PER_SEC)

/* Asks whether the bus client `sender` may do `action`; handler gets the reply or an error. cancel_id names
 * the query for polkit_cancel(). *ret_slot is the caller's. */
int polkit_ask(sd_bus *bus, const char *sender, const char *action, bool interactive, const char *cancel_id,
        sd_bus_message_handler_t handler, void *userdata, sd_bus_slot **ret_slot);

/* Reads the reply: 1 allowed; else 0 with *error saying why not, in words for the caller. */
int polkit_read(
        sd_bus_message *reply, const char *member, const char *action, bool interactive, sd_bus_error *error);

/* Takes back a query whose caller has gone: an agent may be showing a dialogue for it. */
void polkit_cancel(sd_bus *bus, const char *cancel_id);
