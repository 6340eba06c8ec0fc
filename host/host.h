/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "histogram.h"
#include "host-config.h"
#include "host-view.h"
#include "vm.h"

/* All VMs, and what the host can give them. */
struct host;

/* config is kept. procfs: where meminfo and PID/statm are. overrides: file of limits that were set to stay,
 * NULL: none. promises: file of the memory promised to each VM, NULL: none. */
int host_new(sd_event *event, struct host_config *config, const char *procfs, const char *overrides,
        const char *promises, struct host **ret);
struct host *host_free(struct host *h);

/* Opens what a new configuration wants to listen on, before anything of it is taken over; host_abandon() when
 * it is not. Negative with *ret_error (g_free). */
int host_prepare(struct host *h, const struct host_config *config, char **ret_error);
void host_abandon(struct host *h);
/* Takes over a new configuration: limits of VMs that stay, VMs that are new or gone. A VM whose sockets or
 * devices changed begins anew. */
void host_configure(struct host *h, struct host_config *config);

/* Who is told of VMs. */
struct host_ops {
    void (*added)(struct vm *vm, void *userdata);
    void (*removed)(const char *name, void *userdata); /* it is gone already */
    void (*changed)(struct vm *vm, void *userdata);    /* something of its view may have */
};
/* ops NULL: nobody. */
void host_set_ops(struct host *h, const struct host_ops *ops, void *userdata);

/* Borrowed, until the loop turns. */
unsigned host_count(const struct host *h);
struct vm *host_vm(const struct host *h, unsigned i);
struct vm *host_find(const struct host *h, const char *name); /* NULL: no such VM */

void host_view(struct host *h, struct host_view *ret);
/* How long the grants took. */
const struct histogram *host_grants(const struct host *h);

/* Of what an administrator does. */
#define HOST_TEXT_MAX 256u
#define HOST_KEEP UINT64_MAX

/* Limits of a VM in bytes over the configuration's, HOST_KEEP: the one in force; both: the configuration's
 * again. max 0: what the devices can hold. Negative with the D-Bus error's name and its text, and nothing has
 * changed. */
int host_set_limits(struct host *h, struct vm *vm, uint64_t min, uint64_t max, bool persist,
        const char **ret_error, char ret_text[static HOST_TEXT_MAX]);
/* weight 0: the configuration's again. */
int host_set_weight(struct host *h, struct vm *vm, uint32_t weight, bool persist, const char **ret_error,
        char ret_text[static HOST_TEXT_MAX]);
