/* SPDX-License-Identifier: MIT */
#include "hotplug.h"

#include <dirent.h>
#include <limits.h>

#include "meminfo.h"
#include "procfile.h"

#define AUTO_MOVABLE_FACTOR 3u
/* More firmware ranges than this is no machine. */
#define FIRMWARE_RANGES_MAX 4096u

const char *const hotplug_onlining_names[] = { "auto", "movable", "auto-movable", NULL };

const char *hotplug_onlining_to_string(enum hotplug_onlining o)
{
    return o >= 0 && o < _HOTPLUG_ONLINING_MAX ? hotplug_onlining_names[o] : NULL;
}

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

static int make_path(char path[static PATH_MAX], const char *root, const char *rest)
{
    return snprintf(path, PATH_MAX, "%s/%s", root, rest) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int open_dir(const char *root, const char *rest, DIR **ret)
{
    char path[PATH_MAX];
    int r = make_path(path, root, rest);

    if (r < 0)
        return r;
    *ret = opendir(path);
    return *ret ? 0 : -errno;
}

static int read_word(const char *root, const char *rest, char *buf, size_t size)
{
    char path[PATH_MAX];
    size_t len;
    int r = make_path(path, root, rest);

    if (r >= 0)
        r = procfile_read(path, buf, size, &len);
    if (r < 0)
        return r;
    buf[strcspn(buf, "\n")] = '\0';
    return 0;
}

static int write_word(const char *root, const char *rest, const char *word)
{
    char path[PATH_MAX];
    int r = make_path(path, root, rest);

    return r < 0 ? r : procfile_write(path, word);
}

int hotplug_count_devices(const char *sysfs)
{
    _cleanup_(closedirp) DIR *d = NULL;
    int r = open_dir(sysfs, "bus/virtio/drivers/virtio_mem", &d), count = 0;

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    for (struct dirent *e; (e = readdir(d));)
        count += strncmp(e->d_name, "virtio", 6) == 0;
    return count;
}

int hotplug_memory_block_size(const char *sysfs, uint64_t *ret)
{
    char path[PATH_MAX];
    int r = make_path(path, sysfs, "devices/system/memory/block_size_bytes");

    return r < 0 ? r : procfile_read_u64(path, 16, ret);
}

static int firmware_range(const char *sysfs, const char *name, uint64_t *ret_bytes)
{
    char path[PATH_MAX], type[64];
    uint64_t start, end;
    int r;

    (void)snprintf(path, sizeof(path), "firmware/memmap/%s/type", name);
    r = read_word(sysfs, path, type, sizeof(type));
    if (r < 0)
        return r;
    *ret_bytes = 0;
    if (!streq(type, "System RAM"))
        return 0;
    (void)snprintf(path, sizeof(path), "%s/firmware/memmap/%s/start", sysfs, name);
    r = procfile_read_u64(path, 16, &start);
    if (r < 0)
        return r;
    (void)snprintf(path, sizeof(path), "%s/firmware/memmap/%s/end", sysfs, name);
    r = procfile_read_u64(path, 16, &end);
    if (r < 0)
        return r;
    *ret_bytes = end >= start ? end - start + 1 : 0;
    return 0;
}

static int firmware_boot_size(const char *sysfs, uint64_t *ret)
{
    _cleanup_(closedirp) DIR *d = NULL;
    uint64_t sum = 0;
    unsigned ranges = 0;
    int r = open_dir(sysfs, "firmware/memmap", &d);

    if (r < 0)
        return r;
    for (struct dirent *e; (e = readdir(d));) {
        uint64_t bytes;

        if (e->d_name[0] < '0' || e->d_name[0] > '9')
            continue;
        if (++ranges > FIRMWARE_RANGES_MAX)
            return -E2BIG;
        r = firmware_range(sysfs, e->d_name, &bytes);
        if (r >= 0)
            r = bytes_add(sum, bytes, &sum);
        if (r < 0)
            return r;
    }
    if (sum == 0)
        return -ENODATA;
    *ret = sum;
    return 0;
}

int hotplug_boot_size(const char *sysfs, const char *procfs, uint64_t *ret)
{
    char path[PATH_MAX];
    struct meminfo m;
    int r = firmware_boot_size(sysfs, ret);

    if (r >= 0)
        return r;
    r = make_path(path, procfs, "meminfo");
    if (r >= 0)
        r = meminfo_read(path, &m);
    if (r >= 0)
        *ret = m.total;
    return r;
}

enum hotplug_onlining hotplug_choose(enum hotplug_onlining wanted, uint64_t boot_size, uint64_t max_size)
{
    if (wanted != HOTPLUG_AUTO)
        return wanted;
    return max_size / AUTO_MOVABLE_FACTOR <= boot_size ? HOTPLUG_MOVABLE : HOTPLUG_AUTO_MOVABLE;
}

static const char *state_word(enum hotplug_onlining policy)
{
    return policy == HOTPLUG_MOVABLE ? "online_movable" : "online";
}

/* Writes only what differs; returns whether it did. */
static int set_word(const char *sysfs, const char *rest, const char *word)
{
    char now[64];
    int r = read_word(sysfs, rest, now, sizeof(now));

    if (r < 0)
        return r;
    if (streq(now, word))
        return 0;
    r = write_word(sysfs, rest, word);
    return r < 0 ? r : 1;
}

int hotplug_set_policy(const char *sysfs, enum hotplug_onlining policy)
{
    int r = 0, s;

    if (policy == HOTPLUG_AUTO_MOVABLE) {
        r = set_word(sysfs, "module/memory_hotplug/parameters/online_policy", "auto-movable");
        if (r < 0)
            return r;
    }
    s = set_word(sysfs, "devices/system/memory/auto_online_blocks", state_word(policy));
    return s < 0 ? s : r || s;
}

static bool is_block(const char *name)
{
    return strncmp(name, "memory", 6) == 0 && name[6] >= '0' && name[6] <= '9';
}

int hotplug_online_waiting(const char *sysfs, enum hotplug_onlining policy, unsigned *ret_failed)
{
    _cleanup_(closedirp) DIR *d = NULL;
    unsigned failed = 0;
    int r = open_dir(sysfs, "devices/system/memory", &d), count = 0;

    if (r < 0)
        return r;
    for (struct dirent *e; (e = readdir(d));) {
        char path[PATH_MAX], state[64];

        if (!is_block(e->d_name))
            continue;
        (void)snprintf(path, sizeof(path), "devices/system/memory/%s/state", e->d_name);
        if (read_word(sysfs, path, state, sizeof(state)) < 0 || !streq(state, "offline"))
            continue;
        if (write_word(sysfs, path, state_word(policy)) < 0)
            failed++;
        else
            count++;
    }
    *ret_failed = failed;
    return count;
}
