/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "backend.h"

/* A client of one QMP socket: greets, negotiates, numbers its commands, and comes back when the connection is
 * lost. A command without an answer in time ends the connection, so that every command has one end. */

/* name: the VM's, for the log. */
int qmp_new(sd_event *event, const char *name, const char *path, uint64_t timeout_usec,
        const struct backend_ops *ops, void *userdata, struct backend **ret);
