/* SPDX-License-Identifier: MIT */
#pragma once

#include <jansson.h>
#include <systemd/sd-bus.h>

#include "macro.h"

/* Takes the next complete value of a message as JSON: structs and arrays are arrays, dictionaries objects,
 * variants what is in them. Unsigned numbers beyond 2^63 - 1 mean "none" on these interfaces and are null.
 * -EOPNOTSUPP: a type that vmtide's interfaces do not have. */
int message_to_json(sd_bus_message *m, json_t **ret);

/* All values of a message, as an array. */
int message_all_to_json(sd_bus_message *m, json_t **ret);

static inline void json_unrefp(json_t **j)
{
    json_decref(*j);
}
#define _cleanup_json_ _cleanup_(json_unrefp)
