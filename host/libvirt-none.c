/* SPDX-License-Identifier: MIT */
/* A build without libvirt: host-config.c refuses Domain= and AllDomains=. */
#include "libvirt.h"

int libvirt_new(sd_event *event, const char *uri, const char *pid_folder, const struct libvirt_ops *ops,
        void *userdata, struct libvirt **ret)
{
    return -EOPNOTSUPP;
}

struct libvirt *libvirt_free(struct libvirt *l)
{
    return NULL;
}

void libvirt_tell_again(struct libvirt *l)
{
}

int libvirt_backend_new(struct libvirt *l, const char *vm, const char *domain, uint64_t timeout_usec,
        const struct backend_ops *ops, void *userdata, struct backend **ret)
{
    return -EOPNOTSUPP;
}
