/* SPDX-License-Identifier: MIT */
#include "trigger.h"

#include <fcntl.h>
#include <limits.h>

#include "pressure.h"

#define LINE_SIZE 64

static int format_trigger(const char *kind, uint64_t stall_usec, uint64_t window_usec,
        char line[static LINE_SIZE], size_t *ret_len)
{
    if (window_usec < TRIGGER_WINDOW_MIN_USEC)
        return -EINVAL;
    return pressure_trigger_format(kind, stall_usec, window_usec, line, LINE_SIZE, ret_len);
}

int trigger_check(const char *kind, uint64_t stall_usec, uint64_t window_usec)
{
    char line[LINE_SIZE];
    size_t len;

    return format_trigger(kind, stall_usec, window_usec, line, &len);
}

int trigger_open(const char *procfs, const char *kind, uint64_t stall_usec, uint64_t window_usec, int *ret_fd)
{
    _cleanup_close_ int fd = -EBADF;
    char path[PATH_MAX], line[LINE_SIZE];
    size_t len;
    int r;

    r = format_trigger(kind, stall_usec, window_usec, line, &len);
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
