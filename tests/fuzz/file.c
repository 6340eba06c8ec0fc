/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <sys/mman.h>

int fuzz_file(const uint8_t *data, size_t size, char ret_path[static 64])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    FUZZ_CHECK(fd >= 0);
    FUZZ_CHECK(write(fd, data, size) == (ssize_t)size);
    (void)snprintf(ret_path, 64, "/proc/self/fd/%d", fd);
    return fd;
}
