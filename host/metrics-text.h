/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>

#include "histogram.h"
#include "host-view.h"
#include "vm-view.h"

/* Appends all metrics in Prometheus' text format 0.0.4. Pure. */
void metrics_text(GString *out, const struct host_view *host, const struct histogram *grants,
        const struct vm_view *vms, unsigned n_vms);

/* Reads "127.0.0.1:9811" or "[::1]:9811" into *ret (struct sockaddr_storage). -EINVAL. *ret_local: nobody but
 * this machine reaches it. */
struct sockaddr_storage;
int metrics_parse_address(const char *text, struct sockaddr_storage *ret, bool *ret_local);
