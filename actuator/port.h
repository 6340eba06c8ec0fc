/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* Opens what Port= says: a device, a unix socket, "vsock", "vsock:PORT", "vsock:CID:PORT" or PORT_AUTO, which
 * is the virtio port where there is one, else the host over vsock. Never blocks. 1 with *ret_fd: it is being
 * connected, vsock_connected() tells when the fd is writable; 0: somebody is at its other end. -ENOTCONN:
 * nobody is; -ENOENT: there is neither port nor vsock device; -ENODEV: vsock without a device.
 * timeout_usec: of the kernel's, for vsock. */
int port_open(const char *port, const char *sysfs, uint64_t timeout_usec, int *ret_fd);
