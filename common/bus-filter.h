/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-bus.h>

/* The limit of the D-Bus specification for names. It has none for object paths; those of vmtide are shorter.
 */
#define BUS_NAME_MAX 255u

/* For sd_bus_add_filter(), before any object is added: replies InvalidArgs to a call whose object path has
 * more than 255 bytes, and to a call of org.freedesktop.DBus.Properties with a longer string. sd-bus would
 * copy these into its error reply: a few names of 12 MB exhaust the data limit of the process or fill its
 * write queue. */
int bus_filter(sd_bus_message *m, void *userdata, sd_bus_error *ret_error);
