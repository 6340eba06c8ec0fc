/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "host-config.h"

/* All VMs, and what the host can give them. */
struct host;

/* procfs: where meminfo and PID/statm are. */
int host_new(sd_event *event, const struct host_config *config, const char *procfs, struct host **ret);
struct host *host_free(struct host *h);

/* Takes over a new configuration: limits of VMs that stay, VMs that are new or gone. A VM whose sockets or
 * devices changed begins anew. */
void host_configure(struct host *h, const struct host_config *config);
