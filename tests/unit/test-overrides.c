/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <glib/gstdio.h>
#include <libgen.h>

#include "bytes.h"
#include "overrides.h"

static const struct override limits = { .has_limits = true, .min_size = MIB(256), .max_size = GIB(2) };
static const struct override weight = { .has_weight = true, .weight = 300 };
static const struct override both = {
    .has_limits = true, .has_weight = true, .min_size = 0, .max_size = UINT64_MAX, .weight = 10000
};
static const struct override nothing = { 0 };

static void assert_override(const struct overrides *o, const char *name, const struct override *want)
{
    struct override got;

    overrides_get(o, name, &got);
    assert_int_equal(got.has_limits, want->has_limits);
    assert_int_equal(got.has_weight, want->has_weight);
    assert_int_equal(got.min_size, want->min_size);
    assert_int_equal(got.max_size, want->max_size);
    assert_int_equal(got.weight, want->weight);
}

/* What is set to stay is there again, what is not is not; what is taken back leaves the file. */
static void test_round_trip(void **state)
{
    g_autofree char *folder = g_dir_make_tmp("vmtide-XXXXXX", NULL), *path = NULL, *error = NULL,
                    *text = NULL;
    struct overrides *o;

    path = g_build_filename(folder, "deep", "limits", NULL);
    o = overrides_new(path);
    assert_override(o, "a", &nothing);
    assert_int_equal(overrides_set(o, "a", OVERRIDE_BOTH, &limits, true, &error), 0);
    assert_int_equal(overrides_set(o, "b", OVERRIDE_BOTH, &both, true, &error), 0);
    assert_int_equal(overrides_set(o, "c", OVERRIDE_BOTH, &weight, false, &error), 0);
    assert_override(o, "c", &weight);
    overrides_free(o);
    o = overrides_new(path);
    assert_override(o, "a", &limits);
    assert_override(o, "b", &both);
    assert_override(o, "c", &nothing);
    assert_int_equal(overrides_set(o, "a", OVERRIDE_BOTH, &nothing, true, &error), 0);
    assert_int_equal(overrides_set(o, "b", OVERRIDE_BOTH, &nothing, false, &error), 0);
    assert_override(o, "b", &nothing);
    overrides_free(o);
    o = overrides_new(path);
    assert_override(o, "a", &nothing);
    assert_override(o, "b", &both);
    overrides_free(o);
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_null(strstr(text, "[VM a]"));
    (void)g_unlink(path);
    (void)g_rmdir(dirname(path));
    (void)g_rmdir(folder);
}

/* What was set for a while does not come to stay by the other part. */
static void test_parts(void **state)
{
    g_autofree char *folder = g_dir_make_tmp("vmtide-XXXXXX", NULL), *path = NULL, *error = NULL;
    struct overrides *o;

    path = g_build_filename(folder, "limits", NULL);
    o = overrides_new(path);
    assert_int_equal(overrides_set(o, "a", OVERRIDE_LIMITS, &limits, false, &error), 0);
    assert_int_equal(overrides_set(o, "a", OVERRIDE_WEIGHT, &weight, true, &error), 0);
    assert_int_equal(overrides_set(o, "b", OVERRIDE_BOTH, &both, true, &error), 0);
    assert_int_equal(overrides_set(o, "b", OVERRIDE_WEIGHT, &nothing, true, &error), 0);
    overrides_free(o);
    o = overrides_new(path);
    assert_override(o, "a", &weight);
    assert_override(o, "b", &(struct override){ .has_limits = true, .min_size = 0, .max_size = UINT64_MAX });
    overrides_free(o);
    (void)g_unlink(path);
    (void)g_rmdir(folder);
}

/* One wrong line of somebody's costs nobody what is saved beside it. */
static void test_what_cannot_be_read_is_not_written_over(void **state)
{
    static const char broken[] = "[VM a]\nMinSize=0\nMaxSize=1073741824\nthis is no line\n";
    g_autofree char *folder = g_dir_make_tmp("vmtide-XXXXXX", NULL), *path = NULL, *error = NULL,
                    *text = NULL;
    struct overrides *o;

    path = g_build_filename(folder, "limits", NULL);
    assert_true(g_file_set_contents(path, broken, -1, NULL));
    o = overrides_new(path);
    assert_int_equal(overrides_set(o, "b", OVERRIDE_LIMITS, &limits, true, &error), -EIO);
    assert_non_null(strstr(error, path));
    assert_override(o, "b", &nothing);
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_string_equal(text, broken);
    assert_int_equal(overrides_set(o, "b", OVERRIDE_LIMITS, &limits, false, &error), 0);
    (void)g_unlink(path);
    assert_int_equal(overrides_set(o, "b", OVERRIDE_LIMITS, &limits, true, &error), 0);
    overrides_free(o);
    (void)g_unlink(path);
    (void)g_rmdir(folder);
}

static void test_what_cannot_be_kept_changes_nothing(void **state)
{
    g_autofree char *folder = g_dir_make_tmp("vmtide-XXXXXX", NULL), *error = NULL;
    struct overrides *o = overrides_new(folder); /* a folder is no file */

    assert_int_equal(overrides_set(o, "a", OVERRIDE_BOTH, &limits, true, &error), -EIO);
    assert_non_null(error);
    assert_override(o, "a", &nothing);
    overrides_free(o);
    g_clear_pointer(&error, g_free);
    o = overrides_new(NULL);
    assert_int_equal(overrides_set(o, "a", OVERRIDE_BOTH, &limits, true, &error), -EIO);
    g_clear_pointer(&error, g_free);
    assert_int_equal(overrides_set(o, "a", OVERRIDE_BOTH, &limits, false, &error), 0);
    for (unsigned i = 1; i < OVERRIDES_MAX; i++) {
        g_autofree char *name = g_strdup_printf("vm%u", i);

        assert_int_equal(overrides_set(o, name, OVERRIDE_BOTH, &weight, false, &error), 0);
    }
    assert_int_equal(overrides_set(o, "one-more", OVERRIDE_BOTH, &weight, false, &error), -EIO);
    assert_override(o, "one-more", &nothing);
    g_clear_pointer(&error, g_free);
    assert_int_equal(overrides_set(o, "a", OVERRIDE_BOTH, &both, false, &error), 0);
    overrides_free(o);
    (void)g_rmdir(folder);
}

static void test_files_of_others(void **state)
{
    static const char *const texts[] = {
        "[VM a]\nMinSize=5\nMaxSize=3\n",
        "[VM a]\nMinSize=5\n",
        "[VM a]\n",
        "[VM a]\nWeight=0\n",
        "[VM a]\nWeight=10001\n",
        "[VM a]\nWeight=x\n",
        "[a]\nWeight=5\n",
        "garbage",
        "",
        "[VM a]\nMinSize=-1\nMaxSize=5\n",
        "[VM a]\nMinSize=99999999999999999999\nMaxSize=5\n",
    };
    g_autofree char *folder = g_dir_make_tmp("vmtide-XXXXXX", NULL), *path = NULL;

    path = g_build_filename(folder, "limits", NULL);
    for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
        struct overrides *o;

        assert_true(g_file_set_contents(path, texts[i], -1, NULL));
        o = overrides_new(path);
        assert_override(o, "a", &nothing);
        overrides_free(o);
    }
    (void)g_unlink(path);
    (void)g_rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_what_cannot_be_read_is_not_written_over),
        cmocka_unit_test(test_what_cannot_be_kept_changes_nothing),
        cmocka_unit_test(test_files_of_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
