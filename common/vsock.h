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

/* Whether this kernel holds a vsock device, so that CID 2 is the host. With none, but vsock_loopback loaded,
 * which any program causes by opening a socket, the kernel takes CID 2 for this very machine, and whoever
 * listens here would be the host. With one it never does, for as long as the driver is loaded (af_vsock.c,
 * vsock_use_local_transport(); measured on 6.1 and 6.12). The socket does not tell: its peer's CID is the one
 * that was asked for. Loads nothing. */
bool vsock_has_device(const char *sysfs);

/* Whether every program of this machine may be who listens there. */
bool vsock_is_anybody(const struct vsock_address *to);

/* A stream socket from a privileged port that is about to be connected and does not block: when it is
 * writable or has failed, vsock_connected() tells. The kernel gives up after timeout_usec. -EACCES: without
 * CAP_NET_BIND_SERVICE; -EAFNOSUPPORT: no vsock; -ENODEV: no way there. */
int vsock_connect(const struct vsock_address *to, uint64_t timeout_usec);

/* 0, or why not: -ECONNRESET: nobody listens; -ETIMEDOUT. */
int vsock_connected(int fd);

/* A listening one, for whoever connects from anywhere. */
int vsock_listen(uint32_t port);

/* A connection that waits, without blocking. -EAGAIN: none. */
int vsock_accept(int listening, struct vsock_address *ret_from);
