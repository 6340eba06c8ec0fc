/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <fcntl.h>
#include <glib.h>
#include <sys/mman.h>

#include "hotplug.h"
#include "trigger.h"

#define MEMORY "devices/system/memory/"
#define POLICY "module/memory_hotplug/parameters/online_policy"

/* A made-up /sys and /proc below one folder. */
struct tree {
    char root[64];
};

static void put(const struct tree *t, const char *rest, const char *text)
{
    g_autofree char *path = g_build_filename(t->root, rest, NULL);
    g_autofree char *folder = g_path_get_dirname(path);

    assert_int_equal(g_mkdir_with_parents(folder, 0755), 0);
    assert_true(g_file_set_contents(path, text, -1, NULL));
}

/* A regular file keeps the tail of a longer text that stood there; sysfs does not. */
static void assert_file(const struct tree *t, const char *rest, const char *text)
{
    g_autofree char *path = g_build_filename(t->root, rest, NULL);
    g_autofree char *contents = NULL;

    assert_true(g_file_get_contents(path, &contents, NULL, NULL));
    contents[MIN_OF(strlen(contents), strlen(text))] = '\0';
    assert_string_equal(contents, text);
}

static void put_block(const struct tree *t, unsigned number, const char *state)
{
    g_autofree char *rest = g_strdup_printf(MEMORY "memory%u/state", number);

    put(t, rest, state);
}

static void assert_block(const struct tree *t, unsigned number, const char *state)
{
    g_autofree char *rest = g_strdup_printf(MEMORY "memory%u/state", number);

    assert_file(t, rest, state);
}

static void put_range(
        const struct tree *t, unsigned number, const char *start, const char *end, const char *type)
{
    const char *const names[] = { "start", "end", "type" }, *const texts[] = { start, end, type };

    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        g_autofree char *rest = g_strdup_printf("firmware/memmap/%u/%s", number, names[i]);

        put(t, rest, texts[i]);
    }
}

/* The firmware's map of a guest with -m 1G; memory blocks of 128 MiB. */
static int setup(void **state)
{
    struct tree *t = g_new0(struct tree, 1);

    (void)snprintf(t->root, sizeof(t->root), "/tmp/test-hotplug-XXXXXX");
    assert_non_null(g_mkdtemp(t->root));
    put(t, MEMORY "block_size_bytes", "8000000\n");
    put(t, MEMORY "auto_online_blocks", "offline\n");
    put(t, POLICY, "contig-zones\n");
    put_range(t, 0, "0x0\n", "0x9fbff\n", "System RAM\n");
    put_range(t, 1, "0x9fc00\n", "0x9ffff\n", "Reserved\n");
    put_range(t, 2, "0x100000\n", "0x3ffdefff\n", "System RAM\n");
    *state = t;
    return 0;
}

static int remove_tree(const char *path)
{
    g_autoptr(GDir) d = g_dir_open(path, 0, NULL);

    for (const char *name; d && (name = g_dir_read_name(d));) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        (void)remove_tree(child);
    }
    return remove(path);
}

static int teardown(void **state)
{
    struct tree *t = *state;
    int r = remove_tree(t->root);

    g_free(t);
    return r;
}

static void test_boot_size(void **state)
{
    const struct tree *t = *state;
    uint64_t size = 0;

    assert_int_equal(hotplug_boot_size(t->root, t->root, &size), 0);
    assert_int_equal(size, 0x9fc00 + 0x3fedf000);
}

/* Without a map, or with one that cannot be right, MemTotal is what is left. */
static void test_boot_size_without_map(void **state)
{
    const struct tree *t = *state;
    uint64_t size = 77;

    put_range(t, 2, "0x100000\n", "0x1\n", "System RAM\n");
    assert_int_equal(hotplug_boot_size(t->root, t->root, &size), -ENOENT);
    assert_int_equal(size, 77);
    put(t, "meminfo",
            "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 1 kB\nBuffers: 0 kB\nCached: 0 kB\n"
            "Active(file): 0 kB\nInactive(file): 0 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\nShmem: 0 kB\n"
            "SReclaimable: 0 kB\n");
    assert_int_equal(hotplug_boot_size(t->root, t->root, &size), 0);
    assert_int_equal(size, KIB(1000));
}

static void test_memory_block_size(void **state)
{
    static const struct {
        const char *text;
        int r;
        uint64_t size;
    } rows[] = {
        { "8000000\n", 0, MIB(128) },
        { "80000000\n", 0, GIB(2) },
        { "0\n", -ERANGE, 0 },
        { "lots\n", -EBADMSG, 0 },
        { "", -EBADMSG, 0 },
    };
    const struct tree *t = *state;

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        uint64_t size = 0;

        put(t, MEMORY "block_size_bytes", rows[i].text);
        assert_int_equal(hotplug_memory_block_size(t->root, &size), rows[i].r);
        assert_int_equal(size, rows[i].size);
    }
}

static void test_devices(void **state)
{
    const struct tree *t = *state;

    assert_int_equal(hotplug_count_devices(t->root), 0);
    put(t, "bus/virtio/drivers/virtio_mem/bind", "");
    assert_int_equal(hotplug_count_devices(t->root), 0);
    put(t, "bus/virtio/drivers/virtio_mem/virtio3/status", "0xf\n");
    put(t, "bus/virtio/drivers/virtio_mem/virtio5/status", "0xf\n");
    assert_int_equal(hotplug_count_devices(t->root), 2);
}

static void test_choice(void **state)
{
    /* What -m 1G leaves of a GiB. */
    const uint64_t boot = 0x3ff7ec00;
    static const struct {
        enum hotplug_onlining wanted;
        uint64_t max;
        enum hotplug_onlining chosen;
    } rows[] = {
        { HOTPLUG_AUTO, 0, HOTPLUG_MOVABLE },
        { HOTPLUG_AUTO, GIB(3), HOTPLUG_MOVABLE },
        { HOTPLUG_AUTO, GIB(3) + 1, HOTPLUG_AUTO_MOVABLE },
        { HOTPLUG_AUTO, INT64_MAX, HOTPLUG_AUTO_MOVABLE },
        { HOTPLUG_AUTO, UINT64_MAX, HOTPLUG_AUTO_MOVABLE },
        { HOTPLUG_MOVABLE, UINT64_MAX, HOTPLUG_MOVABLE },
        { HOTPLUG_AUTO_MOVABLE, 0, HOTPLUG_AUTO_MOVABLE },
        { HOTPLUG_KEEP, GIB(3), HOTPLUG_KEEP },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        assert_int_equal(hotplug_choose(rows[i].wanted, boot, rows[i].max), rows[i].chosen);
    /* Not known is never taken for small. */
    assert_int_equal(hotplug_choose(HOTPLUG_AUTO, UINT64_MAX, UINT64_MAX), HOTPLUG_AUTO_MOVABLE);
}

static void test_policy(void **state)
{
    static const struct {
        enum hotplug_onlining policy;
        const char *blocks_before;
        const char *policy_before;
        int changed;
        const char *blocks;
        const char *policy_after;
    } rows[] = {
        { HOTPLUG_MOVABLE, "offline\n", "contig-zones\n", 1, "online_movable", "contig-zones" },
        { HOTPLUG_MOVABLE, "online\n", "contig-zones\n", 1, "online_movable", "contig-zones" },
        { HOTPLUG_MOVABLE, "online_movable\n", "contig-zones\n", 0, "online_movable", "contig-zones" },
        { HOTPLUG_AUTO_MOVABLE, "offline\n", "contig-zones\n", 1, "online", "auto-movable" },
        { HOTPLUG_AUTO_MOVABLE, "online\n", "contig-zones\n", 1, "online", "auto-movable" },
        { HOTPLUG_AUTO_MOVABLE, "online_kernel\n", "auto-movable\n", 1, "online", "auto-movable" },
        { HOTPLUG_AUTO_MOVABLE, "online\n", "auto-movable\n", 0, "online", "auto-movable" },
        { HOTPLUG_KEEP, "offline\n", "contig-zones\n", 1, "online", "contig-zones" },
        { HOTPLUG_KEEP, "online_kernel\n", "contig-zones\n", 0, "online_kernel", "contig-zones" },
    };
    const struct tree *t = *state;

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        put(t, MEMORY "auto_online_blocks", rows[i].blocks_before);
        put(t, POLICY, rows[i].policy_before);
        assert_int_equal(hotplug_set_policy(t->root, rows[i].policy), rows[i].changed);
        assert_file(t, MEMORY "auto_online_blocks", rows[i].blocks);
        assert_file(t, POLICY, rows[i].policy_after);
    }
}

static void test_policy_without_hotplug(void **state)
{
    unsigned failed = 77;

    assert_int_equal(hotplug_set_policy("/nonexistent", HOTPLUG_MOVABLE), -ENOENT);
    assert_int_equal(hotplug_online_waiting("/nonexistent", HOTPLUG_MOVABLE, &failed), -ENOENT);
    assert_int_equal(failed, 77);
}

/* 8 blocks of boot memory end at 1 GiB; the device's begin at 4 GiB, where block 32 is. */
static void test_waiting_blocks(void **state)
{
    const struct tree *t = *state;
    unsigned failed = 77;

    put_block(t, 0, "online\n");
    put_block(t, 7, "offline\n");
    put_block(t, 32, "offline\n");
    put_block(t, 33, "online\n");
    put_block(t, 34, "going-offline\n");
    put_block(t, 35, "offline\n");
    put(t, MEMORY "memory36x/state", "offline\n");
    put(t, MEMORY "power/state", "offline\n");
    assert_int_equal(hotplug_online_waiting(t->root, HOTPLUG_MOVABLE, &failed), 2);
    assert_int_equal(failed, 0);
    assert_block(t, 7, "offline");
    assert_block(t, 32, "online_movable");
    assert_block(t, 33, "online\n");
    assert_block(t, 34, "going-offline\n");
    assert_block(t, 35, "online_movable");
    assert_file(t, MEMORY "memory36x/state", "offline");
    assert_file(t, MEMORY "power/state", "offline");
}

static void test_waiting_blocks_are_kept_like_the_rest(void **state)
{
    const struct tree *t = *state;
    unsigned failed;

    put(t, MEMORY "auto_online_blocks", "online_kernel\n");
    put_block(t, 40, "offline\n");
    assert_int_equal(hotplug_online_waiting(t->root, HOTPLUG_KEEP, &failed), 1);
    assert_block(t, 40, "online_kernel");
}

/* A block that will not: a sealed file, which even root can read only. */
static void test_blocks_that_will_not(void **state)
{
    const struct tree *t = *state;
    g_autofree char *link = g_build_filename(t->root, MEMORY "memory40/state", NULL);
    _cleanup_close_ int fd = memfd_create("state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    char target[64];
    unsigned failed = 0;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "offline\n", 8), 8);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    put_block(t, 40, "");
    put_block(t, 41, "offline\n");
    (void)snprintf(target, sizeof(target), "/proc/self/fd/%d", fd);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink(target, link), 0);
    assert_int_equal(hotplug_online_waiting(t->root, HOTPLUG_MOVABLE, &failed), 1);
    assert_int_equal(failed, 1);
    assert_block(t, 41, "online_movable");
}

static void test_trigger_bounds(void **state)
{
    static const struct {
        const char *kind;
        uint64_t stall;
        uint64_t window;
        int r;
    } rows[] = {
        { "some", 5000, 50000, 0 },
        { "full", 50000, 50000, 0 },
        { "full", 1, 10 * USEC_PER_SEC, 0 },
        { "some", 5000, 49999, -EINVAL },
        { "some", 0, 50000, -EINVAL },
        { "some", 50001, 50000, -EINVAL },
        { "some", 1, 10 * USEC_PER_SEC + 1, -EINVAL },
        { "some", UINT64_MAX, UINT64_MAX, -EINVAL },
        { "all", 5000, 50000, -EINVAL },
        { "", 5000, 50000, -EINVAL },
        { "some 1", 5000, 50000, -EINVAL },
    };
    const struct tree *t = *state;

    put(t, "pressure/memory", "");
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        int fd = -77;

        assert_int_equal(trigger_check(rows[i].kind, rows[i].stall, rows[i].window), rows[i].r);
        assert_int_equal(trigger_open(t->root, rows[i].kind, rows[i].stall, rows[i].window, &fd), rows[i].r);
        if (rows[i].r < 0)
            assert_int_equal(fd, -77);
        else
            assert_int_equal(close(fd), 0);
    }
}

/* The kernel overwrites the last byte: it has to be the NUL. */
static void test_trigger_is_written_with_its_nul(void **state)
{
    static const char expected[] = "some 5000 50000";
    const struct tree *t = *state;
    _cleanup_close_ int fd = -EBADF;
    char line[64] = "";

    assert_int_equal(trigger_open(t->root, "some", 5000, 50000, &fd), -ENOENT);
    put(t, "pressure/memory", "");
    assert_int_equal(trigger_open(t->root, "some", 5000, 50000, &fd), 0);
    assert_int_equal(pread(fd, line, sizeof(line), 0), sizeof(expected));
    assert_memory_equal(line, expected, sizeof(expected));
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_boot_size),
        TEST(test_boot_size_without_map),
        TEST(test_memory_block_size),
        TEST(test_devices),
        cmocka_unit_test(test_choice),
        TEST(test_policy),
        cmocka_unit_test(test_policy_without_hotplug),
        TEST(test_waiting_blocks),
        TEST(test_waiting_blocks_are_kept_like_the_rest),
        TEST(test_blocks_that_will_not),
        TEST(test_trigger_bounds),
        TEST(test_trigger_is_written_with_its_nul),
    };

    return cmocka_run_group_tests_name("hotplug", tests, NULL, NULL);
}
