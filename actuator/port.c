/* SPDX-License-Identifier: MIT */
#include "port.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include "actuator-config.h"
#include "channel.h"
#include "unix-socket.h"
#include "vsock.h"

static int open_file(const char *path)
{
    _cleanup_close_ int fd = -EBADF;
    struct pollfd p;
    struct stat st;

    if (stat(path, &st) < 0)
        return -errno;
    if (S_ISSOCK(st.st_mode))
        return unix_connect(path);
    fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    p = (struct pollfd){ .fd = fd, .events = POLLIN | POLLOUT };
    if (poll(&p, 1, 0) < 0)
        return -errno;
    return p.revents & POLLHUP ? -ENOTCONN : TAKE_FD(fd);
}

/* No socket is made in vain: that alone would load vsock and its loopback into every guest without it. */
static int open_vsock(const struct vsock_address *to, const char *sysfs, uint64_t timeout_usec)
{
    if (to->cid == VSOCK_CID_HOST && !vsock_has_device(sysfs))
        return -ENODEV;
    return vsock_connect(to, timeout_usec);
}

int port_open(const char *port, const char *sysfs, uint64_t timeout_usec, int *ret_fd)
{
    struct vsock_address to = { .cid = VSOCK_CID_HOST, .port = VSOCK_PORT_DEFAULT };
    bool automatic = streq(port, PORT_AUTO), vsock = vsock_parse(port, &to) >= 0;
    int fd = -ENOENT;

    if (!vsock)
        fd = open_file(automatic ? CHANNEL_PORT_PATH : port);
    if (automatic && fd == -ENOENT)
        vsock = vsock_has_device(sysfs);
    if (vsock)
        fd = open_vsock(&to, sysfs, timeout_usec);
    if (fd < 0)
        return fd;
    *ret_fd = fd;
    return vsock;
}
