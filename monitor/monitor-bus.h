/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "monitor.h"

/* org.vmtide.Monitor1 on the system bus (or another, by address). The monitor also works while the bus is not
 * available. */
struct monitor_bus;

int monitor_bus_new(sd_event *event, struct monitor *m, const char *address, struct monitor_bus **ret);
struct monitor_bus *monitor_bus_free(struct monitor_bus *b);
