/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-bus.h>

/* Names of the D-Bus specification have at most 255 bytes. Object paths have no limit there; ours stay below.
 */
#define BUS_NAME_MAX 255u

/* For sd_bus_add_filter(), before any object is added: replies InvalidArgs to calls with an object path of
 * more than 255 bytes, and to calls of org.freedesktop.DBus.Properties with a string of more. sd-bus itself
 * repeats these in its error replies: a few names of 12 MB end the connection for lack of memory, or fill the
 * write queue. */
int bus_filter(sd_bus_message *m, void *userdata, sd_bus_error *ret_error);
