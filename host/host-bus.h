/* SPDX-License-Identifier: MIT */
#pragma once

#include "host.h"

/* org.vmtide.Host1 on the system bus: what host.h shows, and what administrators may do to it. */
struct host_bus;

/* address NULL: the system bus. A bus that is not there is no failure; h must outlive it. */
int host_bus_new(sd_event *event, struct host *h, const char *address, struct host_bus **ret);
struct host_bus *host_bus_free(struct host_bus *b);
