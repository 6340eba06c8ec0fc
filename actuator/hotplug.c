/* SPDX-License-Identifier: MIT */
#include "hotplug.h"

#include <dirent.h>
#include <glib.h>
#include <limits.h>

#include "meminfo.h"
#include "procfile.h"
#include "virtio-driver.h"

#define MOVABLE_FACTOR 3u
/* Firmware keeps up to some 40 MiB of boot memory for itself: "3 x 1 GiB" is meant to hold for -m 1G. */
#define BOOT_GRAIN MIB(128)
#define AUTO_ONLINE "devices/system/memory/auto_online_blocks"
/* More entries in the firmware's map than this is no machine. */
#define FIRMWARE_RANGES_MAX 4096u

const char *const hotplug_onlining_names[] = { "auto", "movable", "auto-movable", "keep", NULL };

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
    return virtio_driver_count(sysfs, "virtio_mem");
}

int hotplug_memory_block_size(const char *sysfs, uint64_t *ret)
{
    char path[PATH_MAX];
    uint64_t size;
    int r = make_path(path, sysfs, "devices/system/memory/block_size_bytes");

    if (r >= 0)
        r = procfile_read_u64(path, 16, &size);
    if (r < 0)
        return r;
    if (size == 0)
        return -ERANGE;
    *ret = size;
    return 0;
}

struct range {
    uint64_t start;
    uint64_t end; /* inclusive */
};

static int read_hex(const char *sysfs, const char *name, const char *what, uint64_t *ret)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/firmware/memmap/%s/%s", sysfs, name, what) >= PATH_MAX)
        return -ENAMETOOLONG;
    return procfile_read_u64(path, 16, ret);
}

/* Adds one entry of the firmware's map when it is System RAM. */
static int add_range(const char *sysfs, const char *name, GArray *ranges)
{
    char path[PATH_MAX], type[64];
    struct range range;
    int r;

    if (snprintf(path, sizeof(path), "firmware/memmap/%s/type", name) >= PATH_MAX)
        return -ENAMETOOLONG;
    r = read_word(sysfs, path, type, sizeof(type));
    if (r < 0 || !streq(type, "System RAM"))
        return r;
    r = read_hex(sysfs, name, "start", &range.start);
    if (r >= 0)
        r = read_hex(sysfs, name, "end", &range.end);
    if (r < 0)
        return r;
    if (range.end < range.start || range.end == UINT64_MAX)
        return -ERANGE;
    g_array_append_val(ranges, range);
    return 0;
}

/* -ENODATA: a map without memory. */
static int firmware_ranges(const char *sysfs, GArray **ret)
{
    _cleanup_(closedirp) DIR *d = NULL;
    g_autoptr(GArray) ranges = g_array_new(false, false, sizeof(struct range));
    unsigned entries = 0;
    int r = open_dir(sysfs, "firmware/memmap", &d);

    if (r < 0)
        return r;
    for (struct dirent *e; (e = readdir(d));) {
        if (!g_ascii_isdigit(e->d_name[0]))
            continue;
        if (++entries > FIRMWARE_RANGES_MAX)
            return -E2BIG;
        r = add_range(sysfs, e->d_name, ranges);
        if (r < 0)
            return r;
    }
    if (ranges->len == 0)
        return -ENODATA;
    *ret = TAKE_PTR(ranges);
    return 0;
}

static int firmware_boot_size(const char *sysfs, uint64_t *ret)
{
    g_autoptr(GArray) ranges = NULL;
    uint64_t sum = 0;
    int r = firmware_ranges(sysfs, &ranges);

    for (size_t i = 0; r >= 0 && i < ranges->len; i++) {
        const struct range *range = &g_array_index(ranges, struct range, i);

        r = bytes_add(sum, range->end - range->start + 1, &sum);
    }
    if (r >= 0)
        *ret = sum;
    return r;
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
    uint64_t safe;

    if (wanted != HOTPLUG_AUTO)
        return wanted;
    if (bytes_round_up(boot_size, BOOT_GRAIN, &safe) < 0 || bytes_mul(safe, MOVABLE_FACTOR, &safe) < 0)
        safe = UINT64_MAX - 1;
    return max_size <= safe ? HOTPLUG_MOVABLE : HOTPLUG_AUTO_MOVABLE;
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

/* What is to stand in auto_online_blocks, and is written to a block that waits. */
static int policy_word(const char *sysfs, enum hotplug_onlining policy, char word[static 64])
{
    int r;

    if (policy != HOTPLUG_KEEP) {
        (void)snprintf(word, 64, "%s", policy == HOTPLUG_MOVABLE ? "online_movable" : "online");
        return 0;
    }
    r = read_word(sysfs, AUTO_ONLINE, word, 64);
    if (r >= 0 && streq(word, "offline"))
        (void)snprintf(word, 64, "online");
    return r;
}

int hotplug_set_policy(const char *sysfs, enum hotplug_onlining policy)
{
    char word[64];
    int changed = 0, r = policy_word(sysfs, policy, word);

    if (r >= 0 && policy == HOTPLUG_AUTO_MOVABLE)
        r = changed = set_word(sysfs, "module/memory_hotplug/parameters/online_policy", "auto-movable");
    if (r >= 0)
        r = set_word(sysfs, AUTO_ONLINE, word);
    return r < 0 ? r : r || changed;
}

int hotplug_set_kernel_policy(const char *sysfs)
{
    return set_word(sysfs, AUTO_ONLINE, "online_kernel");
}

/* "memory12" is the block at 12 x block size. */
static bool parse_block(const char *name, uint64_t *ret_number)
{
    return g_str_has_prefix(name, "memory") && g_ascii_isdigit(name[6]) &&
           g_ascii_string_to_unsigned(name + 6, 10, 0, UINT64_MAX, ret_number, NULL);
}

static bool is_boot_memory(const GArray *ranges, uint64_t number, uint64_t block_size)
{
    uint64_t start, last;

    if (bytes_mul(number, block_size, &start) < 0 || bytes_add(start, block_size - 1, &last) < 0)
        return false;
    for (size_t i = 0; i < ranges->len; i++) {
        const struct range *range = &g_array_index(ranges, struct range, i);

        if (start <= range->end && last >= range->start)
            return true;
    }
    return false;
}

/* 1: brought online; 0: it was; -EIO and the like: it would not. */
static int online_block(const char *sysfs, const char *name, const char *word)
{
    char path[PATH_MAX], state[64];

    if (snprintf(path, sizeof(path), "devices/system/memory/%s/state", name) >= PATH_MAX)
        return -ENAMETOOLONG;
    if (read_word(sysfs, path, state, sizeof(state)) < 0 || !streq(state, "offline"))
        return 0;
    return write_word(sysfs, path, word) < 0 ? -EIO : 1;
}

int hotplug_online_waiting(const char *sysfs, enum hotplug_onlining policy, unsigned *ret_failed)
{
    _cleanup_(closedirp) DIR *d = NULL;
    g_autoptr(GArray) boot = NULL;
    uint64_t block_size, number;
    char word[64];
    unsigned failed = 0;
    int r = open_dir(sysfs, "devices/system/memory", &d), count = 0;

    if (r >= 0)
        r = hotplug_memory_block_size(sysfs, &block_size);
    if (r >= 0)
        r = policy_word(sysfs, policy, word);
    if (r < 0)
        return r;
    /* Without a map nobody can tell, and memory that waits is worse than memory that somebody took away. */
    (void)firmware_ranges(sysfs, &boot);
    for (struct dirent *e; (e = readdir(d));) {
        if (!parse_block(e->d_name, &number) || (boot && is_boot_memory(boot, number, block_size)))
            continue;
        r = online_block(sysfs, e->d_name, word);
        failed += r < 0;
        count += r > 0;
    }
    *ret_failed = failed;
    return count;
}
