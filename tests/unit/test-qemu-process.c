/* SPDX-License-Identifier: MIT */
/* What a QEMU's memory counts for, from files as /proc and cgroup v2 have them. */
#include "unit.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bytes.h"
#include "qemu-process.h"

#define PID 77
#define SCOPE "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope"

struct world {
    char folder[64];
};

static void put(const struct world *w, const char *name, const char *text)
{
    g_autofree char *path = g_strdup_printf("%s/%s", w->folder, name), *folder = g_path_get_dirname(path);

    assert_int_equal(g_mkdir_with_parents(folder, 0700), 0);
    assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void put_statm(const struct world *w, uint64_t resident, uint64_t shared)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    g_autofree char *text = g_strdup_printf(
            "9999999 %ju %ju 10 0 10 0\n", (uintmax_t)(resident / page), (uintmax_t)(shared / page));

    put(w, "proc/77/statm", text);
}

/* procs NULL: as of a threaded cgroup, where that cannot be read. */
static void put_cgroup(
        const struct world *w, const char *path, const char *procs, unsigned below, uint64_t shmem)
{
    g_autofree char *line = g_strdup_printf("12:cpu:/other\n0::%s\n", path);
    g_autofree char *stat = g_strdup_printf("nr_descendants %u\nnr_dying_descendants 3\n", below);
    g_autofree char *memory =
            g_strdup_printf("anon 1\nfile 99999999999\nshmem_thp 7\nshmem %ju\nx 1\n", (uintmax_t)shmem);
    g_autofree char *a = g_strdup_printf("cgroup%s/cgroup.procs", path);
    g_autofree char *b = g_strdup_printf("cgroup%s/cgroup.stat", path);
    g_autofree char *c = g_strdup_printf("cgroup%s/memory.stat", path);

    put(w, "proc/77/cgroup", line);
    if (procs)
        put(w, a, procs);
    put(w, b, stat);
    put(w, c, memory);
}

static int open_world(void **state)
{
    struct world *w = g_new0(struct world, 1);

    g_strlcpy(w->folder, "/tmp/vmt-qemu-XXXXXX", sizeof(w->folder));
    assert_non_null(mkdtemp(w->folder));
    put_statm(w, GIB(1), 0);
    *state = w;
    return 0;
}

static int close_world(void **state)
{
    struct world *w = *state;
    const char *const argv[] = { "rm", "-r", w->folder, NULL };

    assert_true(
            g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL));
    g_free(w);
    return 0;
}

static struct qemu_memory look(const struct world *w)
{
    g_autofree char *proc = g_strdup_printf("%s/proc", w->folder);
    g_autofree char *cgroups = g_strdup_printf("%s/cgroup", w->folder);
    struct qemu_process *p = NULL;
    struct qemu_memory m;

    assert_int_equal(qemu_process_open(proc, cgroups, PID, &p), 0);
    assert_int_equal(qemu_process_read(p, &m), 0);
    qemu_process_close(p);
    return m;
}

static void test_anonymous_memory_counts(void **state)
{
    struct world *w = *state;
    struct qemu_memory m = look(w);

    assert_int_equal(m.resident, GIB(1));
    assert_int_equal(m.touched, GIB(1));
    put_statm(w, GIB(1), MIB(40));
    m = look(w);
    assert_int_equal(m.touched, GIB(1) - MIB(40));
    assert_int_equal(m.doubtful, 0);
}

static void test_shared_memory_counts_as_its_own_cgroup_is_charged(void **state)
{
    struct world *w = *state;
    struct qemu_memory m;

    put_statm(w, GIB(3), GIB(2));
    put_cgroup(w, "/system.slice/vm.service", "77\n", 0, GIB(1));
    m = look(w);
    assert_int_equal(m.resident, GIB(3));
    assert_int_equal(m.touched, GIB(2));
    assert_int_equal(m.doubtful, GIB(1));
    /* What is charged and not mapped is not what the guest has touched. */
    put_cgroup(w, "/system.slice/vm.service", "77\n", 0, GIB(9));
    assert_int_equal(look(w).touched, GIB(3));
    put_cgroup(w, SCOPE, "77\n78\n", 2, GIB(2));
    assert_int_equal(look(w).touched, GIB(3));
    put_cgroup(w, SCOPE, "77\n78\n", 2, GIB(1));
    put(w, "proc/77/cgroup", "0::" SCOPE "/libvirt/emulator\n");
    assert_int_equal(look(w).touched, GIB(2));
}

static void test_shared_memory_does_not_count_in_a_cgroup_that_others_use(void **state)
{
    static const struct {
        const char *path, *procs;
        unsigned below;
    } rows[] = {
        { "/user.slice/session-1.scope", "76\n77\n", 0 },
        { "/user.slice/session-1.scope", "77\n778\n", 0 },
        { "/user.slice/session-2.scope", "778\n", 0 },
        { "/user.slice/session-3.scope", "", 0 },
        { "/user.slice/session-4.scope", NULL, 0 },
        { "/user.slice/session-5.scope", "77\n", 1 },
        { "/", "77\n", 0 },
        { "/../vm.service", "77\n", 0 },
        { "/user.slice" SCOPE, "76\n77\n", 0 },
        { "/machine.slice/machine-qemu", "76\n77\n", 0 },
        { "/machine.slice/machine-qemu.scoped", "76\n77\n", 0 },
        { "/machine.slice/other.scope", "76\n77\n", 0 },
    };
    struct world *w = *state;

    put_statm(w, GIB(3), GIB(2));
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct qemu_memory m;

        put_cgroup(w, rows[i].path, rows[i].procs, rows[i].below, GIB(2));
        m = look(w);
        if (m.touched != GIB(1) || m.doubtful != GIB(2))
            fail_msg("%s: %ju touched", rows[i].path, (uintmax_t)m.touched);
    }
}

/* No cgroup v2, or files that cannot be. */
static void test_shared_memory_does_not_count_without_a_cgroup(void **state)
{
    static const char *const bad[] = { "", "shmem\n", "shmem -1\n", "shmem 1 2\n",
        "shmem 99999999999999999999\n", "xshmem 2147483648\n" };
    struct world *w = *state;

    put_statm(w, GIB(3), GIB(2));
    assert_int_equal(look(w).touched, GIB(1));
    put(w, "proc/77/cgroup", "4:memory:/vm\n0::/\n");
    assert_int_equal(look(w).touched, GIB(1));
    put(w, "proc/77/cgroup", "0::/none\n");
    assert_int_equal(look(w).touched, GIB(1));
    put_cgroup(w, "/vm", "77\n", 0, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        put(w, "cgroup/vm/memory.stat", bad[i]);
        assert_int_equal(look(w).touched, GIB(1));
    }
}

static void test_numbers_without_sense(void **state)
{
    static const char *const bad[] = { "", "1\n", "1 2\n", "1 x 3 \n", "1 18446744073709551615 1 \n" };
    struct world *w = *state;
    g_autofree char *proc = g_strdup_printf("%s/proc", w->folder);
    struct qemu_memory m = { .touched = 5 };
    struct qemu_process *p = NULL;

    put_statm(w, GIB(1), GIB(2));
    assert_int_equal(look(w).touched, 0);
    assert_int_equal(qemu_process_open(proc, "/none", 0, &p), -ESRCH);
    assert_int_equal(qemu_process_open(proc, "/none", 78, &p), -ENOENT);
    assert_null(p);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        put(w, "proc/77/statm", bad[i]);
        assert_int_equal(qemu_process_open(proc, "/none", PID, &p), 0);
        assert_int_equal(qemu_process_read(p, &m), -EBADMSG);
        assert_int_equal(m.touched, 5);
        p = qemu_process_close(p);
    }
    put(w, "proc/77/statm", "0 0 0 0 0 0 0\n");
    assert_int_equal(qemu_process_open(proc, "/none", PID, &p), 0);
    assert_int_equal(qemu_process_read(p, &m), -ESRCH);
    qemu_process_close(p);
}

/* The kernel's own files: one memfd, mapped many times, and as much anonymous memory as that is. */
static void test_a_memfd_that_is_mapped_many_times(void **state)
{
    struct qemu_memory before, after;
    struct qemu_process *p = NULL;
    int fd = memfd_create("many", MFD_CLOEXEC);
    void *anon;

    assert_int_equal(qemu_process_open("/proc", "/none", getpid(), &p), 0);
    assert_int_equal(qemu_process_read(p, &before), 0);
    assert_int_equal(ftruncate(fd, (off_t)MIB(16)), 0);
    for (unsigned i = 0; i < 48; i++)
        assert_ptr_not_equal(
                mmap(NULL, MIB(16), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0), MAP_FAILED);
    assert_int_equal(qemu_process_read(p, &after), 0);
    assert_true(after.resident - before.resident > MIB(760));
    assert_true(after.touched < before.touched + MIB(4) && after.doubtful >= MIB(768));
    anon = mmap(NULL, MIB(32), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_ptr_not_equal(anon, MAP_FAILED);
    before = after;
    assert_int_equal(qemu_process_read(p, &after), 0);
    assert_true(after.touched - before.touched >= MIB(30) && after.touched - before.touched <= MIB(34));
    qemu_process_close(p);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_anonymous_memory_counts, open_world, close_world),
        cmocka_unit_test_setup_teardown(
                test_shared_memory_counts_as_its_own_cgroup_is_charged, open_world, close_world),
        cmocka_unit_test_setup_teardown(
                test_shared_memory_does_not_count_in_a_cgroup_that_others_use, open_world, close_world),
        cmocka_unit_test_setup_teardown(
                test_shared_memory_does_not_count_without_a_cgroup, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_numbers_without_sense, open_world, close_world),
        cmocka_unit_test(test_a_memfd_that_is_mapped_many_times),
    };

    return cmocka_run_group_tests_name("qemu-process", tests, NULL, NULL);
}
