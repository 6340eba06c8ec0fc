/* SPDX-License-Identifier: MIT */
/* Kernel settings in a made-up /proc: what is remembered, restored, and left to the administrator. */
#include "unit.h"

#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "kernel-setting.h"

#define OVERCOMMIT KERNEL_SETTING_OVERCOMMIT
#define RATIO KERNEL_SETTING_RESERVE_RATIO

static char *folder, *saved;
static struct kernel_state state;

static char *path_of(enum kernel_setting_id id)
{
    return g_build_filename(folder, "sys/vm", kernel_setting_to_string(id), NULL);
}

static void put(enum kernel_setting_id id, const char *text)
{
    g_autofree char *path = path_of(id), *parent = g_path_get_dirname(path);

    assert_int_equal(g_mkdir_with_parents(parent, 0700), 0);
    assert_true(g_file_set_contents(path, text, -1, NULL));
}

/* A file does not end where the text that was written last ends, unlike a sysctl: the first line counts. */
static void assert_value(enum kernel_setting_id id, const char *value)
{
    g_autofree char *path = path_of(id), *text = NULL;

    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    text[strcspn(text, "\n")] = '\0';
    g_strdelimit(text, "\t", ' ');
    assert_string_equal(text, value);
}

static struct kernel_numbers numbers(const char *text)
{
    struct kernel_numbers v;

    assert_int_equal(kernel_numbers_parse(text, &v), 0);
    return v;
}

static int apply(enum kernel_setting_id id, const char *text)
{
    struct kernel_numbers v = numbers(text);

    return kernel_setting_apply(&state, id, &v);
}

static bool is_saved(void)
{
    return g_file_test(saved, G_FILE_TEST_EXISTS);
}

static int begin(void **unused)
{
    folder = g_dir_make_tmp("vmtide-kernel-XXXXXX", NULL);
    saved = g_build_filename(folder, "kernel", NULL);
    state = (struct kernel_state){ .procfs = folder, .path = saved };
    put(OVERCOMMIT, "0\n");
    put(RATIO, "256\t256\t32\t0\t0\n");
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

static int end(void **unused)
{
    remove_all(folder);
    g_clear_pointer(&folder, g_free);
    g_clear_pointer(&saved, g_free);
    return 0;
}

static void test_numbers(void **unused)
{
    static const struct {
        const char *text;
        int error;
    } rows[] = {
        { "", -EBADMSG },
        { "\n", -EBADMSG },
        { "-1", -EBADMSG },
        { "1x", -EBADMSG },
        { "1 2 3 4 5 6 7 8 9", -EBADMSG },
        { "2147483648", -ERANGE },
        { "99999999999999999999", -ERANGE },
    };
    struct kernel_numbers v = numbers("256\t256\t32\t0\t2147483647\n");

    assert_int_equal(v.n, 5);
    assert_string_equal(FORMAT_NUMBERS(&v), "256 256 32 0 2147483647");
    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        if (kernel_numbers_parse(rows[i].text, &v) != rows[i].error)
            fail_msg("%s", rows[i].text);
    assert_int_equal(v.n, 5);
}

static void test_applies_and_restores(void **unused)
{
    assert_int_equal(apply(OVERCOMMIT, "1"), 1);
    assert_int_equal(apply(OVERCOMMIT, "1"), 0);
    assert_int_equal(apply(RATIO, "256 2 32 0 0"), 1);
    assert_int_equal(apply(RATIO, "256 8 32 0 0"), 1);
    assert_value(OVERCOMMIT, "1");
    assert_value(RATIO, "256 8 32 0 0");
    assert_true(is_saved());
    assert_int_equal(kernel_setting_restore(&state, OVERCOMMIT), 1);
    assert_value(OVERCOMMIT, "0");
    assert_true(is_saved());
    assert_int_equal(kernel_setting_restore(&state, RATIO), 1);
    assert_value(RATIO, "256 256 32 0 0");
    assert_false(is_saved());
    assert_int_equal(kernel_setting_restore(&state, RATIO), 0);
}

static void test_the_administrators_value_ends_the_change(void **unused)
{
    assert_int_equal(apply(OVERCOMMIT, "0"), 0);
    assert_false(is_saved());
    assert_int_equal(apply(OVERCOMMIT, "1"), 1);
    assert_int_equal(apply(OVERCOMMIT, "0"), 1);
    assert_value(OVERCOMMIT, "0");
    assert_false(is_saved());
}

static void test_restored_after_a_kill(void **unused)
{
    assert_int_equal(apply(OVERCOMMIT, "1"), 1);
    assert_int_equal(apply(RATIO, "256 2 32 0 0"), 1);
    assert_int_equal(kernel_state_restore(saved, folder), 2);
    assert_value(OVERCOMMIT, "0");
    assert_value(RATIO, "256 256 32 0 0");
    assert_false(is_saved());
    assert_int_equal(kernel_state_restore(saved, folder), 0);
}

/* Killed after the file has the new value and before the kernel has it: what stands is still ours. */
static void test_restored_after_a_kill_between_file_and_write(void **unused)
{
    assert_int_equal(apply(RATIO, "256 2 32 0 0"), 1);
    assert_int_equal(apply(RATIO, "256 8 32 0 0"), 1);
    put(RATIO, "256\t2\t32\t0\t0\n");
    assert_int_equal(kernel_state_restore(saved, folder), 1);
    assert_value(RATIO, "256 256 32 0 0");
    /* The first write of all: the administrator's value stands. */
    assert_int_equal(apply(OVERCOMMIT, "1"), 1);
    put(OVERCOMMIT, "0\n");
    assert_int_equal(kernel_state_restore(saved, folder), 0);
    assert_value(OVERCOMMIT, "0");
    assert_false(is_saved());
}

static void test_the_administrators_change_stays(void **unused)
{
    struct kernel_numbers admin;

    assert_int_equal(apply(OVERCOMMIT, "1"), 1);
    assert_int_equal(apply(RATIO, "256 2 32 0 0"), 1);
    put(OVERCOMMIT, "2\n");
    put(RATIO, "64\t64\t32\t0\t0\n");
    assert_int_equal(apply(OVERCOMMIT, "1"), 0);
    assert_int_equal(apply(RATIO, "256 4 32 0 0"), 0);
    assert_false(is_saved());
    assert_int_equal(kernel_setting_admin(&state, OVERCOMMIT, &admin), 0);
    assert_int_equal(admin.values[0], 2);
    /* Also when he goes back to what he had before. */
    put(OVERCOMMIT, "0\n");
    assert_int_equal(apply(OVERCOMMIT, "1"), 0);
    assert_value(OVERCOMMIT, "0");
    assert_int_equal(kernel_setting_restore(&state, OVERCOMMIT), 0);
    assert_int_equal(kernel_setting_restore(&state, RATIO), 0);
    assert_value(OVERCOMMIT, "0");
    assert_value(RATIO, "64 64 32 0 0");
}

static void test_the_administrators_change_stays_after_a_stop_or_a_kill(void **unused)
{
    assert_int_equal(apply(OVERCOMMIT, "1"), 1);
    put(OVERCOMMIT, "2\n");
    assert_int_equal(kernel_setting_restore(&state, OVERCOMMIT), 0);
    assert_value(OVERCOMMIT, "2");
    assert_false(is_saved());

    put(OVERCOMMIT, "0\n");
    assert_int_equal(apply(OVERCOMMIT, "1"), 1);
    put(OVERCOMMIT, "2\n");
    assert_int_equal(kernel_state_restore(saved, folder), 0);
    assert_value(OVERCOMMIT, "2");
    assert_false(is_saved());
}

static void test_writes_nothing_that_it_cannot_remember(void **unused)
{
    state.path = "/nonexistent/kernel";
    assert_true(apply(OVERCOMMIT, "1") < 0);
    assert_value(OVERCOMMIT, "0");
    assert_false(state.settings[OVERCOMMIT].ours);
}

static void test_a_setting_that_is_missing(void **unused)
{
    g_autofree char *path = path_of(OVERCOMMIT);

    assert_int_equal(apply(OVERCOMMIT, "1"), 1);
    assert_int_equal(g_unlink(path), 0);
    assert_int_equal(apply(OVERCOMMIT, "1"), -ENOENT);
    assert_int_equal(kernel_state_restore(saved, folder), 0);
    assert_int_equal(apply(RATIO, "256 2 32 0 0"), 1);
}

static void test_a_file_that_is_broken(void **unused)
{
    static const char *const rows[] = { "garbage", "[overcommit_memory]\nAdministrator=0\n",
        "[overcommit_memory]\nAdministrator=x\nWritten=1\n" };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        assert_true(g_file_set_contents(saved, rows[i], -1, NULL));
        assert_int_equal(kernel_state_restore(saved, folder), -EBADMSG);
        assert_value(OVERCOMMIT, "0");
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_numbers),
        TEST(test_applies_and_restores),
        TEST(test_the_administrators_value_ends_the_change),
        TEST(test_restored_after_a_kill),
        TEST(test_restored_after_a_kill_between_file_and_write),
        TEST(test_the_administrators_change_stays),
        TEST(test_the_administrators_change_stays_after_a_stop_or_a_kill),
        TEST(test_writes_nothing_that_it_cannot_remember),
        TEST(test_a_setting_that_is_missing),
        TEST(test_a_file_that_is_broken),
    };

    return cmocka_run_group_tests_name("kernel-setting", tests, NULL, NULL);
}
