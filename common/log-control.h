/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-bus.h>

#include "macro.h"

/* org.freedesktop.LogControl1, as `systemctl service-log-level` speaks it: everybody may read, root may set
 * the level, which holds until it is set again, by a reload too. The target is what stderr is. */
struct log_control;

int log_control_new(struct log_control **ret);
struct log_control *log_control_free(struct log_control *c);

/* Puts the object on a bus, which owns it then; the log_control must outlive the bus. */
int log_control_add(struct log_control *c, sd_bus *bus);

/* The bus has gone; this client of it has. */
void log_control_cancel(struct log_control *c);
void log_control_caller_gone(struct log_control *c, const char *name);
