/* SPDX-License-Identifier: MIT */
#include "procfile.h"

#include <fcntl.h>

int procfile_read_fd(int fd, char *buf, size_t size, size_t *ret_len)
{
    size_t len = 0;

    if (size == 0)
        return -EINVAL;
    for (;;) {
        ssize_t n = pread(fd, buf + len, size - len, (off_t)len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
        if (len == size)
            return -EFBIG;
    }
    buf[len] = '\0';
    *ret_len = len;
    return 0;
}

int procfile_read(const char *path, char *buf, size_t size, size_t *ret_len)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    return fd < 0 ? -errno : procfile_read_fd(fd, buf, size, ret_len);
}

int procfile_read_u64(const char *path, int base, uint64_t *ret)
{
    char buf[64], *end;
    unsigned long long value;
    size_t len;
    int r = procfile_read(path, buf, sizeof(buf), &len);

    if (r < 0)
        return r;
    if (buf[0] < '0' || buf[0] > 'f' || strlen(buf) != len)
        return -EBADMSG;
    errno = 0;
    value = strtoull(buf, &end, base);
    if (errno != 0)
        return -ERANGE;
    if (end == buf || (*end != '\0' && !streq(end, "\n")))
        return -EBADMSG;
    *ret = value;
    return 0;
}

int procfile_write(const char *path, const char *text)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    size_t len = strlen(text);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = write(fd, text, len);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EIO;
}
