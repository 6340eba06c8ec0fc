/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "backend.h"
#include "domain-xml.h"

/* A connection to libvirt: which domains run, and commands to them. libvirt's calls may take as long as they
 * like: they are made by threads of its own, which know nothing of VMs. */
struct libvirt;

struct libvirt_ops {
    /* A domain runs, with these devices and this channel, or with other ones than before. */
    void (*runs)(const char *name, const struct domain_info *info, void *userdata);
    /* It does not run any more. */
    void (*gone)(const char *name, void *userdata);
    /* libvirt has listed the running domains; runs() was called for each. */
    void (*listed)(void *userdata);
    /* After one or more of these. */
    void (*settled)(void *userdata);
};

/* pid_folder: where libvirt keeps NAME.pid. -EOPNOTSUPP: built without libvirt. */
int libvirt_new(sd_event *event, const char *uri, const char *pid_folder, const struct libvirt_ops *ops,
        void *userdata, struct libvirt **ret);
/* Does not wait for a call that libvirt has not answered. */
struct libvirt *libvirt_free(struct libvirt *l);

/* Calls runs() for all that run, without settled(). */
void libvirt_tell_again(struct libvirt *l);

/* The way to one domain, which runs; vm: for the log. l must outlive it. */
int libvirt_backend_new(struct libvirt *l, const char *vm, const char *domain, uint64_t timeout_usec,
        const struct backend_ops *ops, void *userdata, struct backend **ret);
