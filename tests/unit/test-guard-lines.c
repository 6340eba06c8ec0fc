/* SPDX-License-Identifier: MIT */
/* Lines that cannot be taken back are remembered, whatever slices are held next, until they are. */
#include "unit.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/resource.h>

#include "guard-lines.h"

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
    guard_lines_set_slices(l, "user.slice system.slice");
    assert_int_equal(guard_lines_look(l, HEADROOM, SECOND), 0);
    assert_true(l->armed && line_of("user.slice") < 900000000 && line_of("system.slice") < GIB(1));
    set_writable(false);
    assert_true(guard_lines_disarm(l) < 0);
    assert_true(l->left && !l->armed);
    assert_true(line_of("user.slice") < 900000000 && line_of("system.slice") < GIB(1));
    assert_true(g_file_test(saved, G_FILE_TEST_EXISTS));
}

static void test_new_slices_forget_no_line(void **state)
{
    struct guard_lines l;

    leave_lines(&l);
    guard_lines_set_slices(&l, "system.slice machine.slice");
    assert_int_equal(l.n, 2);
    assert_int_equal(l.n_all, 3);
    assert_true(guard_lines_retry(&l) < 0);
    assert_true(l.left && l.n_all == 3);
    set_writable(true);
    assert_int_equal(guard_lines_retry(&l), 0);
    assert_true(!l.left && l.n_all == 2);
    assert_true(line_of("user.slice") == 900000000 && line_of("system.slice") == GUARD_NO_LINE);
    assert_false(g_file_test(saved, G_FILE_TEST_EXISTS));
    guard_lines_clear(&l);
}

static void test_tried_again_while_others_are_held(void **state)
{
    struct guard_lines l;

    leave_lines(&l);
    guard_lines_set_slices(&l, "system.slice");
    set_writable(true);
    assert_int_equal(guard_lines_look(&l, HEADROOM, 2 * SECOND), 0);
    assert_true(line_of("user.slice") < 900000000);
    assert_int_equal(guard_lines_retry(&l), 0);
    assert_true(l.armed && !l.left && l.n_all == 1);
    assert_true(line_of("user.slice") == 900000000 && line_of("system.slice") < GIB(1));
    /* Ours of before was never taken for the administrator's. */
    assert_int_equal(guard_lines_disarm(&l), 0);
    assert_true(line_of("system.slice") == GUARD_NO_LINE);
    assert_false(g_file_test(saved, G_FILE_TEST_EXISTS));
    guard_lines_clear(&l);
}

static void test_lists_that_change_again_and_again(void **state)
{
    static const char *const lists[] = { "user.slice", "machine.slice", "system.slice user.slice",
        "machine.slice" };
    struct guard_lines l;

    leave_lines(&l);
    for (size_t i = 0; i < 40; i++) {
        guard_lines_set_slices(&l, lists[i % ELEMENTSOF(lists)]);
        assert_true(guard_lines_retry(&l) < 0);
        assert_in_range(l.n_all, 2, 3);
    }
    set_writable(true);
    assert_int_equal(guard_lines_disarm(&l), 0);
    assert_true(line_of("user.slice") == 900000000 && line_of("system.slice") == GUARD_NO_LINE);
    guard_lines_clear(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_new_slices_forget_no_line, begin, end),
        cmocka_unit_test_setup_teardown(test_tried_again_while_others_are_held, begin, end),
        cmocka_unit_test_setup_teardown(test_lists_that_change_again_and_again, begin, end),
    };

    (void)signal(SIGXFSZ, SIG_IGN);
    (void)signal(SIGUSR1, SIG_IGN);
    return cmocka_run_group_tests_name("guard-lines", tests, NULL, NULL);
}
