/* SPDX-License-Identifier: MIT */
#include "hello.h"

#include <limits.h>

#include "hotplug.h"
#include "log.h"
#include "procfile.h"

static int read_boot_id(const char *procfs, char *boot_id, size_t size)
{
    char path[PATH_MAX];
    size_t len;
    int r;

    if (snprintf(path, sizeof(path), "%s/sys/kernel/random/boot_id", procfs) >= PATH_MAX)
        return -ENAMETOOLONG;
    r = procfile_read(path, boot_id, size, &len);
    if (r < 0)
        return r;
    boot_id[strcspn(boot_id, "\n")] = '\0';
    return 0;
}

int hello_read(const char *sysfs, const char *procfs, struct channel_message *ret)
{
    struct channel_message m = {
        .op = CHANNEL_HELLO,
        .version = CHANNEL_VERSION,
        .agent = "vmtide-actuator " VMTIDE_VERSION,
    };
    int r = hotplug_boot_size(sysfs, procfs, &m.boot_size);

    if (r < 0) {
        log_error("the size of boot memory cannot be found: %s", strerror(-r));
        return r;
    }
    r = hotplug_memory_block_size(sysfs, &m.memory_block_size);
    if (r < 0) {
        log_error("this kernel has no memory hotplug (%s/devices/system/memory: %s)", sysfs, strerror(-r));
        return r;
    }
    r = read_boot_id(procfs, m.boot_id, sizeof(m.boot_id));
    if (r < 0) {
        log_error("the boot id cannot be read below %s: %s", procfs, strerror(-r));
        return r;
    }
    *ret = m;
    return 0;
}
