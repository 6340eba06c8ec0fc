/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>
#include <jansson.h>

/* One signal of the daemons in words: "size 1G to 2G (burst)". arguments: as on the bus, an array; for
 * PropertiesChanged too. Signals that are not known are written as JSON. */
void listen_describe(GString *out, const char *member, const json_t *arguments);
