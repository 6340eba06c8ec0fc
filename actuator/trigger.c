/* SPDX-License-Identifier: MIT */
#include "trigger.h"

#include <fcntl.h>
#include <limits.h>

#include "pressure.h"

int trigger_open(const char *procfs, const char *kind, uint64_t stall_usec, uint64_t window_usec, int *ret_fd)
{
    _cleanup_close_ int fd = -EBADF;
    char path[PATH_MAX], line[64];
    size_t len;
    int r;

    if (window_usec < TRIGGER_WINDOW_MIN_USEC)
        return -EINVAL;
    r = pressure_trigger_format(kind, stall_usec, window_usec, line, sizeof(line), &len);
    if (r < 0)
        return r;
    if (snprintf(path, sizeof(path), "%s/pressure/memory", procfs) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    if (write(fd, line, len) < 0)
        return -errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}
