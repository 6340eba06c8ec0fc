/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>

#include "device.h"

/* One VM as configured. */
struct vm_config {
    char *name;
    char *channel; /* path of the socket */
    char *qmp;     /* path of the socket */
    uint32_t cid;  /* of the guest, instead of the channel; 0: none */
    char *domain;  /* libvirt's, instead of the two; NULL: none */
    char *devices; /* ids, as written */
    char device[DEVICES_MAX][DEVICE_ID_MAX];
    unsigned n_devices;
    uint64_t min_size;
    uint64_t max_size; /* bytes; UINT64_MAX: what the devices can hold */
    uint32_t weight;
};

struct host_config {
    uint64_t host_reserve; /* bytes */
    uint32_t vsock_port;   /* 0: nobody comes over vsock */
    bool over_commit;      /* what is granted and not touched is granted again */
    uint32_t request_rate; /* for each VM, a second */
    uint32_t request_burst;
    uint64_t qmp_timeout; /* µs */
    uint64_t progress_usec;
    uint64_t stuck_usec;
    uint64_t held_slack;  /* bytes */
    char *metrics_listen; /* NULL or empty: nowhere */
    char *libvirt_uri;
    char *pid_folder;  /* where libvirt keeps NAME.pid */
    bool all_domains;  /* every one that can be served */
    int log_level;     /* index of "err warning notice info debug" */
    GPtrArray *vms;    /* of struct vm_config; a VM with a domain is there when that runs */
    GHashTable *taken; /* "name X", "path X" and "domain X" → the struct vm_config that has it */
    unsigned refs;
};

/* Most VMs that are served: each costs two sockets and a /proc file, far inside LimitNOFILE= of the unit. */
#define VMS_MAX 4096u

struct vm_config *vm_config_new(const char *name);
void vm_config_free(struct vm_config *vm);
/* What can be a VM's name. */
bool vm_config_is_name(const char *name);
/* The VM that has that domain, name or path, NULL: none. */
const struct vm_config *host_config_find(const struct host_config *c, const char *what, const char *value);
/* Whether libvirt is needed. */
bool host_config_wants_libvirt(const struct host_config *c);

struct host_config *host_config_ref(struct host_config *c);

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
/* -EINVAL: a VM that would come over vsock, where nobody listens. */
int host_config_check_vsock(const struct host_config *c, char **ret_error);
/* -ERANGE: more than the host's memory (MemTotal of this file) is reserved. Unknown memory refuses nothing
 * here. */
int host_config_check_reserve(uint64_t reserve, const char *meminfo, char **ret_error);
