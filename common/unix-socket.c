/* SPDX-License-Identifier: MIT */
#include "unix-socket.h"

#include <sys/socket.h>

int unix_address(const char *path, struct sockaddr_un *ret)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    *ret = address;
    return 0;
}

int unix_connect(const char *path)
{
    _cleanup_close_ int fd = -EBADF;
    struct sockaddr_un address;
    int r = unix_address(path, &address);

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    return TAKE_FD(fd);
}
