/* SPDX-License-Identifier: MIT */
/* Which cgroups get a line, and that a line which cannot be taken back is remembered until it is. */
#include "unit.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/resource.h>

#include "guard-lines.h"
#include "guard-saved.h"

#define SECOND USEC_PER_SEC
#define HEADROOM MIB(192)

static char *folder;
static char *saved;

static void put(const char *path, const char *text)
{
    g_autofree char *full = g_build_filename(folder, path, NULL), *parent = g_path_get_dirname(full);

    assert_int_equal(g_mkdir_with_parents(parent, 0700), 0);
    assert_true(g_file_set_contents(full, text, -1, NULL));
}

static uint64_t line_of(const char *slice)
{
    g_autofree char *full = g_build_filename(folder, slice, "memory.high", NULL), *text = NULL;
    uint64_t line;

    assert_true(g_file_get_contents(full, &text, NULL, NULL));
    assert_int_equal(guard_line_parse(text, &line), 0);
    return line;
}

static void put_slice(const char *name, const char *high)
{
    static const struct {
        const char *file;
        const char *text;
    } files[] = {
        { "memory.current", "52428800\n" },
        { "memory.stat", "inactive_file 0\nfile_dirty 0\nfile_writeback 0\n" },
        { "memory.events.local", "high 0\n" },
    };

    for (size_t i = 0; i < ELEMENTSOF(files); i++) {
        g_autofree char *path = g_build_filename(name, files[i].file, NULL);

        put(path, files[i].text);
    }
    {
        g_autofree char *path = g_build_filename(name, "memory.high", NULL);

        put(path, high);
    }
}

/* No file can be written from here on, as if the kernel refused; or again. */
static void set_writable(bool yes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = yes ? limit.rlim_max : 0;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static int begin(void **state)
{
    folder = g_dir_make_tmp("vmtide-guard-XXXXXX", NULL);
    saved = g_build_filename(folder, "saved", NULL);
    assert_non_null(folder);
    put("meminfo", "MemTotal: 1048576 kB\nMemFree: 819200 kB\nMemAvailable: 768000 kB\nBuffers: 0 kB\n"
                   "Cached: 1000 kB\nActive(file): 500 kB\nInactive(file): 500 kB\nSwapTotal: 0 kB\n"
                   "SwapFree: 0 kB\nShmem: 0 kB\nSReclaimable: 0 kB\n");
    put_slice("user.slice", "900000000\n");
    put_slice("system.slice", "max\n");
    return 0;
}

static void remove_all(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *full = g_build_filename(path, name, NULL);

        remove_all(full);
    }
    (void)g_remove(path);
}

static int end(void **state)
{
    set_writable(true);
    remove_all(folder);
    g_clear_pointer(&folder, g_free);
    g_clear_pointer(&saved, g_free);
    return 0;
}

/* Armed, and then not one line could be taken back. */
static void leave_lines(struct guard_lines *l)
{
    assert_int_equal(guard_lines_init(l, folder, folder, saved), 0);
    assert_int_equal(guard_lines_look(l, HEADROOM, SECOND), 0);
    assert_true(l->armed && line_of("user.slice") < 900000000 && line_of("system.slice") < GIB(1));
    set_writable(false);
    assert_true(guard_lines_disarm(l) < 0);
    assert_true(l->left && !l->armed);
    assert_true(line_of("user.slice") < 900000000 && line_of("system.slice") < GIB(1));
    assert_true(g_file_test(saved, G_FILE_TEST_EXISTS));
}

static void test_new_exclusions_forget_no_line(void **state)
{
    struct guard_lines l;

    leave_lines(&l);
    assert_int_equal(guard_lines_exclude(&l, "system.slice machine.slice"), 0);
    assert_true(guard_lines_retry(&l) < 0);
    assert_true(l.left && l.cgroups.n == 2);
    set_writable(true);
    assert_int_equal(guard_lines_retry(&l), 0);
    assert_false(l.left);
    assert_true(line_of("user.slice") == 900000000 && line_of("system.slice") == GUARD_NO_LINE);
    assert_false(g_file_test(saved, G_FILE_TEST_EXISTS));
    guard_lines_clear(&l);
}

static void test_an_excluded_line_is_taken_back_while_others_stand(void **state)
{
    struct guard_lines l;

    assert_int_equal(guard_lines_init(&l, folder, folder, saved), 0);
    assert_int_equal(guard_lines_look(&l, HEADROOM, SECOND), 0);
    set_writable(false);
    assert_true(guard_lines_exclude(&l, "user.slice") < 0);
    assert_true(l.left && line_of("user.slice") < 900000000);
    set_writable(true);
    assert_int_equal(guard_lines_look(&l, HEADROOM, 2 * SECOND), 0);
    assert_int_equal(guard_lines_retry(&l), 0);
    assert_true(l.armed && !l.left);
    assert_true(line_of("user.slice") == 900000000 && line_of("system.slice") < GIB(1));
    /* A line of ours was never taken for the administrator's. */
    assert_int_equal(guard_lines_exclude(&l, ""), 0);
    assert_int_equal(guard_lines_look(&l, HEADROOM, 5 * SECOND), 0);
    assert_true(line_of("user.slice") < 900000000);
    assert_int_equal(guard_lines_disarm(&l), 0);
    assert_true(line_of("user.slice") == 900000000 && line_of("system.slice") == GUARD_NO_LINE);
    assert_false(g_file_test(saved, G_FILE_TEST_EXISTS));
    guard_lines_clear(&l);
}

static void test_exclusions_that_change_again_and_again(void **state)
{
    static const char *const lists[] = { "user.slice", "machine.slice", "system.slice user.slice", "" };
    struct guard_lines l;

    leave_lines(&l);
    for (size_t i = 0; i < 40; i++) {
        assert_int_equal(guard_lines_exclude(&l, lists[i % ELEMENTSOF(lists)]), 0);
        assert_true(guard_lines_retry(&l) < 0);
        assert_int_equal(l.cgroups.n, 2);
    }
    set_writable(true);
    assert_int_equal(guard_lines_disarm(&l), 0);
    assert_true(line_of("user.slice") == 900000000 && line_of("system.slice") == GUARD_NO_LINE);
    guard_lines_clear(&l);
}

static void test_every_cgroup_gets_a_line_but_those_of_the_daemons(void **state)
{
    g_autofree char *docker = g_build_filename(folder, "docker", NULL);
    struct guard_lines l;

    put_slice("kubepods.slice", "max\n");
    put_slice("docker", "max\n");
    put_slice("lxc.payload.a=b [1]", "max\n");
    put_slice("init.scope", "max\n");
    put_slice("vmtide.slice", "max\n");
    assert_int_equal(guard_lines_init(&l, folder, folder, saved), 0);
    assert_int_equal(guard_lines_look(&l, HEADROOM, SECOND), 0);
    assert_int_equal(l.sample.n, 5);
    assert_true(line_of("docker") < GIB(1) && line_of("lxc.payload.a=b [1]") < GIB(1));
    assert_true(line_of("init.scope") == GUARD_NO_LINE && line_of("vmtide.slice") == GUARD_NO_LINE);
    /* One that is made later, and one that goes. */
    put_slice("late.slice", "max\n");
    assert_true(guard_cgroups_take_events(&l.cgroups));
    assert_true(l.cgroups.stale);
    assert_int_equal(guard_lines_look(&l, HEADROOM, SECOND + 1), 0);
    assert_true(line_of("late.slice") < GIB(1));
    /* A cgroup that is removed and made again under the same name is another one. */
    remove_all(docker);
    put_slice("docker", "max\n");
    assert_true(guard_cgroups_take_events(&l.cgroups));
    assert_int_equal(guard_lines_look(&l, HEADROOM, SECOND + 2), 0);
    assert_true(line_of("docker") < GIB(1));
    /* After a kill, the saved names find their cgroups again. */
    assert_int_equal(guard_saved_restore(saved, folder), 6);
    assert_true(line_of("lxc.payload.a=b [1]") == GUARD_NO_LINE && line_of("user.slice") == 900000000);
    guard_lines_clear(&l);
}

static void test_strain_ends_before_systemd_oomd_kills(void **state)
{
    struct guard_strain s = { 0 };

    /* A full stall: the average of 10 s grows, 20 % after 2 s. */
    assert_false(guard_strain_step(&s, 1900, 10 * SECOND, SECOND));
    assert_int_equal(s.since, 0);
    assert_false(guard_strain_step(&s, 3000, 10 * SECOND, 3 * SECOND));
    /* Small steps of growth lower the average a little. */
    assert_false(guard_strain_step(&s, 1500, 10 * SECOND, 8 * SECOND));
    assert_true(guard_strain_step(&s, 6000, 10 * SECOND, 13 * SECOND));
    assert_true(guard_strain_step(&s, 1500, 10 * SECOND, 20 * SECOND));
    assert_false(guard_strain_step(&s, 900, 10 * SECOND, 26 * SECOND));
    assert_false(guard_strain_step(&s, 10000, USEC_FOREVER, 30 * SECOND));
    assert_false(guard_strain_step(&s, 10000, USEC_FOREVER, 3000 * SECOND));
}

static void test_the_shortest_duration_of_systemd_oomd_counts(void **state)
{
    g_autofree char *runtime = g_build_filename(folder, "oom", NULL);
    const char *const roots[] = { folder };

    put("systemd/oomd.conf", "[OOM]\n#DefaultMemoryPressureDurationSec=30s\n");
    assert_true(guard_strain_bound(roots, 1, runtime) == USEC_FOREVER);
    assert_int_equal(g_mkdir(runtime, 0700), 0);
    assert_int_equal(guard_strain_bound(roots, 1, runtime), 15 * SECOND);
    put("systemd/oomd.conf.d/10-x.conf", "[OOM]\nDefaultMemoryPressureDurationSec=20s\n");
    put("systemd/oomd.conf.d/20-y.conf", "[OOM]\nDefaultMemoryPressureDurationSec=2min\n");
    put("systemd/oomd.conf.d/30-z.conf", "[OOM]\nDefaultMemoryPressureDurationSec=soon\n");
    assert_int_equal(guard_strain_bound(roots, 1, runtime), 10 * SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_new_exclusions_forget_no_line, begin, end),
        cmocka_unit_test_setup_teardown(test_an_excluded_line_is_taken_back_while_others_stand, begin, end),
        cmocka_unit_test_setup_teardown(test_exclusions_that_change_again_and_again, begin, end),
        cmocka_unit_test_setup_teardown(test_every_cgroup_gets_a_line_but_those_of_the_daemons, begin, end),
        cmocka_unit_test_setup_teardown(test_strain_ends_before_systemd_oomd_kills, begin, end),
        cmocka_unit_test_setup_teardown(test_the_shortest_duration_of_systemd_oomd_counts, begin, end),
    };

    (void)signal(SIGXFSZ, SIG_IGN);
    (void)signal(SIGUSR1, SIG_IGN);
    return cmocka_run_group_tests_name("guard-lines", tests, NULL, NULL);
}
