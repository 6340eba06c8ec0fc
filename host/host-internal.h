/* SPDX-License-Identifier: MIT */
#pragma once

#include "balance.h"
#include "host.h"
#include "libvirt.h"
#include "log.h"
#include "overrides.h"
#include "vsock-door.h"

/* Between the files of the host: all VMs (host-vms.c), what they may have (host.c), and what administrators
 * do (host-admin.c). */

/* One VM and what it was made of. */
struct entry {
    struct host *host;
    struct vm *vm;
    char *channel;
    uint32_t cid; /* 0: it has a channel */
    char *qmp;    /* NULL: it has a domain */
    char *domain; /* libvirt's */
    struct vm_settings configured;
    struct vm_settings settings; /* in force: limits and weight may have been set at run time */
    uint64_t qmp_timeout;
    uint64_t promised; /* its part of the host's sum */
    bool claims;       /* it stands among the host's claimants */
    bool wanted;       /* the configuration that is being applied has it */
    bool ended;        /* libvirt has reported that the domain does not run */
};

struct host {
    sd_event *event;
    char *procfs;
    char *meminfo;
    char *pressure;
    uint64_t reserve;
    bool over_commit;
    struct host_config *config;
    struct libvirt *libvirt; /* NULL: not wanted */
    GHashTable *domains;     /* domains that run and are VMs: name → struct vm_config */
    GPtrArray *entries;
    GHashTable *by_cid;      /* CID → struct entry, as by_name */
    struct vsock_door *door; /* NULL: nobody comes over vsock */
    uint32_t door_port;
    struct vsock_door *next_door; /* of host_prepare() */
    GHashTable *by_name;          /* name → struct entry, both borrowed from entries */
    GPtrArray *claimants;         /* of struct entry, borrowed: those who may claim memory */
    unsigned __int128 promised;   /* sum over entries; each may be up to UINT64_MAX */
    unsigned __int128 unlisted;   /* sum of the recorded promises of domains, until libvirt has listed them */
    bool listed;
    GArray *shares; /* of struct share_vm */
    struct overrides *overrides;
    char *promises;         /* path of the file of promises; NULL: none */
    GHashTable *remembered; /* the contents of that file: name → uint64_t *, bytes */
    sd_event_source *save;  /* timer of the next write */
    struct log_repeat log_save;
    const struct host_ops *ops;
    void *userdata;
    sd_event_source *timer;
    uint64_t looked_at;
    struct balance_host numbers;
    struct histogram grants;
    uint64_t read_at;
    uint64_t read_cost;    /* CPU time of the last reading of the VMs, µs */
    GHashTable *processes; /* those of the VMs that this reading has seen */
    struct log_repeat log_meminfo;
};

/* What the VM has and claims goes into the sums; it leaves them. */
void entry_changed(struct entry *e);
void entry_forget(struct entry *e);
/* The recorded promise of a VM (bytes), 0 without a record. */
uint64_t host_remembered(const struct host *h, const char *name);
/* Records the promise of a VM that is being removed, for the next VM of this name. */
void entry_remember(const struct entry *e);
/* Sums up the recorded promises of domains anew, after the VMs or libvirt's list have changed. */
void host_count_unlisted(struct host *h);
/* For vm_new(). */
extern const struct vm_ops host_vm_ops;

/* host-vms.c */
void host_vms_init(struct host *h);
void host_vms_clear(struct host *h);
/* VMs that stay as they are but for their limits, that are new, and that are gone. */
int host_vms_apply(struct host *h);
/* The configuration, and with it libvirt's domains. */
int host_take_config(struct host *h, struct host_config *c);
/* host-domains.c: libvirt's domains as VMs. */
int host_domains_configure(struct host *h);
void host_domains_clear(struct host *h);

struct entry *host_entry(const struct host *h, const char *name);
/* The settings in force, of the configured ones and those set at run time. */
void entry_take_overrides(struct entry *e);
