/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* The channel over AF_VSOCK, where the guest connects to the host. */

/* Where vmtide-host listens unless told; nobody has registered ports of vsock. */
#define VSOCK_PORT_DEFAULT 9810u
/* Ports up to this one are bound by who has CAP_NET_BIND_SERVICE only (LAST_RESERVED_PORT of Linux). */
#define VSOCK_PRIVILEGED_MAX 1023u

#define VSOCK_CID_HOST 2u

struct vsock_address {
    uint32_t cid;
    uint32_t port;
};

/* Reads "vsock", "vsock:PORT" or "vsock:CID:PORT". -EINVAL. */
int vsock_parse(const char *text, struct vsock_address *ret);

/* A connected stream socket that does not block, from a privileged port. Waits 200 ms at most: the host's
 * kernel answers in less than one. -EACCES: without CAP_NET_BIND_SERVICE; -EAFNOSUPPORT, -ENODEV,
 * -EADDRNOTAVAIL: no vsock; -ECONNRESET: nobody listens. */
int vsock_connect(const struct vsock_address *to);

/* A listening one, for whoever connects from anywhere. */
int vsock_listen(uint32_t port);

/* A connection that waits, without blocking. -EAGAIN: none. */
int vsock_accept(int listening, struct vsock_address *ret_from);
