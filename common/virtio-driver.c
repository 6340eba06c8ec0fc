/* SPDX-License-Identifier: MIT */
#include "virtio-driver.h"

#include <dirent.h>
#include <limits.h>

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

int virtio_driver_count(const char *sysfs, const char *driver)
{
    _cleanup_(closedirp) DIR *d = NULL;
    char path[PATH_MAX];
    int count = 0;

    if (snprintf(path, sizeof(path), "%s/bus/virtio/drivers/%s", sysfs, driver) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    d = opendir(path);
    if (!d)
        return errno == ENOENT ? 0 : -errno;
    for (struct dirent *e; (e = readdir(d));)
        count += strncmp(e->d_name, "virtio", 6) == 0;
    return count;
}
