/* SPDX-License-Identifier: MIT */
#include "vsock.h"

/* Before the kernel's header, which wants it. */
#include <sys/socket.h>

#include <glib.h>
#include <linux/vm_sockets.h>

#include "virtio-driver.h"

#define BACKLOG 128

static int parse_number(const char *text, uint32_t *ret)
{
    guint64 number;

    /* 2^32 - 1 is "any". */
    if (!g_ascii_string_to_unsigned(text, 10, 0, UINT32_MAX - 1, &number, NULL))
        return -EINVAL;
    *ret = (uint32_t)number;
    return 0;
}

int vsock_parse(const char *text, struct vsock_address *ret)
{
    struct vsock_address a = { .cid = VSOCK_CID_HOST, .port = VSOCK_PORT_DEFAULT };
    g_auto(GStrv) parts = g_strsplit(text, ":", 4);
    guint n = g_strv_length(parts);

    if (n < 1 || n > 3 || !streq(parts[0], "vsock"))
        return -EINVAL;
    if (n > 1 && (parse_number(parts[n - 1], &a.port) < 0 || a.port == 0))
        return -EINVAL;
    if (n > 2 && (parse_number(parts[1], &a.cid) < 0 || a.cid == 0))
        return -EINVAL;
    *ret = a;
    return 0;
}

static int open_socket(void)
{
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd < 0 ? -errno : fd;
}

static int bind_to(int fd, uint32_t port)
{
    struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port };

    return bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
}

/* From above, as rresvport() does. */
static int bind_privileged(int fd)
{
    int r = -EADDRINUSE;

    for (uint32_t port = VSOCK_PRIVILEGED_MAX; port > 0 && r == -EADDRINUSE; port--)
        r = bind_to(fd, port);
    return r;
}

bool vsock_has_device(const char *sysfs)
{
    return virtio_driver_count(sysfs, "vmw_vsock_virtio_transport") > 0;
}

bool vsock_is_anybody(const struct vsock_address *to)
{
    return to->cid == VMADDR_CID_LOCAL && to->port > VSOCK_PRIVILEGED_MAX;
}

int vsock_connect(const struct vsock_address *to, uint64_t timeout_usec)
{
    struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = to->cid, .svm_port = to->port };
    struct timeval timeout = { .tv_sec = (time_t)(timeout_usec / USEC_PER_SEC),
        .tv_usec = (suseconds_t)(timeout_usec % USEC_PER_SEC) };
    _cleanup_close_ int fd = open_socket();
    int r = fd < 0 ? fd : bind_privileged(fd);

    if (r < 0)
        return r;
    /* By default it is 2 s. */
    if (setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &timeout, sizeof(timeout)) < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 && errno != EINPROGRESS)
        return -errno;
    return TAKE_FD(fd);
}

int vsock_connected(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? -errno : -error;
}

int vsock_listen(uint32_t port)
{
    _cleanup_close_ int fd = open_socket();
    int r = fd < 0 ? fd : bind_to(fd, port);

    if (r < 0)
        return r;
    return listen(fd, BACKLOG) < 0 ? -errno : TAKE_FD(fd);
}

int vsock_accept(int listening, struct vsock_address *ret_from)
{
    struct sockaddr_vm a = { 0 };
    socklen_t len = sizeof(a);
    int fd = accept4(listening, (struct sockaddr *)&a, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return -errno;
    *ret_from = (struct vsock_address){ .cid = a.svm_cid, .port = a.svm_port };
    return fd;
}
