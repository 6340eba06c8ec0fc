/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>

#include "device.h"

/* One VM as configured. */
struct vm_config {
    char *name;
    char *channel; /* path of the socket */
    char *qmp;     /* path of the socket */
    char *devices; /* ids, as written */
    char device[DEVICES_MAX][DEVICE_ID_MAX];
    unsigned n_devices;
    uint64_t min_size;
    uint64_t max_size; /* bytes; UINT64_MAX: what the devices can hold */
    uint32_t weight;
};

struct host_config {
    uint64_t host_reserve; /* bytes */
    bool over_commit;      /* what is granted and not touched is granted again */
    uint32_t request_rate; /* for each VM, a second */
    uint32_t request_burst;
    uint64_t qmp_timeout; /* µs */
    uint64_t progress_usec;
    uint64_t stuck_usec;
    uint64_t held_slack;  /* bytes */
    char *metrics_listen; /* NULL or empty: nowhere */
    int log_level;        /* index of "err warning notice info debug" */
    GPtrArray *vms;       /* of struct vm_config */
};

struct host_config *host_config_free(struct host_config *c);
static inline void host_config_freep(struct host_config **c)
{
    host_config_free(*c);
}

/* Reads path (NULL: the defaults alone) and its drop-ins, for host.conf those of host.d/. Refuses two VMs
 * with one name or one socket. *ret_error as config_load(). */
int host_config_load(const char *path, struct host_config **ret, char **ret_error);
/* Adds the VMs of --vm, NULL-terminated or NULL; after a failure c is to be freed. -ENOENT: there is no VM at
 * all. */
int host_config_add_vms(struct host_config *c, char *const *adhoc, char **ret_error);
/* -ERANGE: more than the host's memory (MemTotal of this file) is reserved. Unknown memory refuses nothing
 * here. */
int host_config_check_reserve(uint64_t reserve, const char *meminfo, char **ret_error);
