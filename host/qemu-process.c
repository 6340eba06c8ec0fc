/* SPDX-License-Identifier: MIT */
#include "qemu-process.h"

#include <fcntl.h>

#include "bytes.h"
#include "procfile.h"

int qemu_process_open(const char *procfs, pid_t pid, int *ret_fd)
{
    char path[256];
    int fd, n = snprintf(path, sizeof(path), "%s/%ld/statm", procfs, (long)pid);

    if (pid <= 0)
        return -ESRCH;
    if (n < 0 || (size_t)n >= sizeof(path))
        return -ENAMETOOLONG;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

/* "size resident shared …", in pages. */
int qemu_process_rss(int statm_fd, uint64_t *ret)
{
    unsigned long long size, resident;
    uint64_t bytes;
    char buf[256];
    size_t len;
    int r = procfile_read_fd(statm_fd, buf, sizeof(buf), &len);

    if (r < 0)
        return r;
    if (sscanf(buf, "%llu %llu ", &size, &resident) != 2)
        return -EBADMSG;
    if (size == 0)
        return -ESRCH;
    r = bytes_mul(resident, (uint64_t)sysconf(_SC_PAGESIZE), &bytes);
    if (r < 0)
        return -EBADMSG;
    *ret = bytes;
    return 0;
}
