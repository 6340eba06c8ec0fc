/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <glib.h>

#include "actuator-config.h"

static char *write_config(const char *text)
{
    g_autofree char *path = g_strdup("/tmp/test-actuator-config-XXXXXX");
    int fd = g_mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    assert_true(g_file_set_contents(path, text, -1, NULL));
    return TAKE_PTR(path);
}

/* Loads text; -E and the message without its path, or 0. */
static int load(const char *text, struct actuator_config *ret, char **ret_error)
{
    g_autofree char *path = write_config(text);
    int r = actuator_config_load(path, false, ret, ret_error);

    assert_int_equal(unlink(path), 0);
    return r;
}

static void defaults(struct actuator_config *ret)
{
    g_autofree char *error = NULL;

    assert_int_equal(actuator_config_load("/nonexistent/actuator.conf", true, ret, &error), 0);
    assert_null(error);
}

static void assert_same(const struct actuator_config *a, const struct actuator_config *b)
{
    assert_int_equal(a->min_size, b->min_size);
    assert_int_equal(a->max_size, b->max_size);
    assert_int_equal(a->request_rate, b->request_rate);
    assert_int_equal(a->request_burst, b->request_burst);
    assert_int_equal(a->request_timeout_usec, b->request_timeout_usec);
    assert_int_equal(a->onlining, b->onlining);
    assert_int_equal(a->overcommit, b->overcommit);
    assert_int_equal(a->kernel_reserve, b->kernel_reserve);
    assert_int_equal(a->log_level, b->log_level);
    assert_string_equal(a->port, b->port);
    assert_string_equal(a->guard_exclude, b->guard_exclude);
}

static void test_missing_file(void **state)
{
    struct actuator_config c;
    g_autofree char *error = NULL;

    assert_int_equal(actuator_config_load("/nonexistent/actuator.conf", false, &c, &error), -ENOENT);
    assert_non_null(error);
    defaults(&c);
    assert_int_equal(c.max_size, UINT64_MAX);
    assert_int_equal(c.request_rate, 10);
    assert_int_equal(c.request_burst, 20);
    assert_int_equal(c.request_timeout_usec, 5 * USEC_PER_SEC);
    assert_int_equal(c.overcommit, OVERCOMMIT_FOLLOW);
    assert_true(c.kernel_reserve);
    config_clear(actuator_options, &c);
}

/* What is installed has every option, commented out, with its default: taken literally it changes nothing. */
static void test_installed_file_shows_the_defaults(void **state)
{
    struct actuator_config shown, fallback;
    g_autofree char *text = NULL, *error = NULL;
    g_autoptr(GRegex) comment = g_regex_new("^#(?=[A-Z][A-Za-z]*=)", G_REGEX_MULTILINE, 0, NULL);
    g_autofree char *uncommented = NULL;

    assert_true(g_file_get_contents(ACTUATOR_CONF, &text, NULL, NULL));
    uncommented = g_regex_replace_literal(comment, text, -1, 0, "", 0, NULL);
    for (const struct config_option *o = actuator_options; o->group; o++) {
        g_autofree char *line = g_strdup_printf("\n#%s=", o->key);

        /* GuardSlices= is a key of version 0.1: the daemon reads it, the installed file does not show it. */
        if (!streq(o->key, "GuardSlices") && !strstr(text, line))
            fail_msg("%s has no line #%s=", ACTUATOR_CONF, o->key);
    }
    assert_int_equal(load(text, &shown, &error), 0);
    config_clear(actuator_options, &shown);
    assert_int_equal(load(uncommented, &shown, &error), 0);
    defaults(&fallback);
    assert_same(&shown, &fallback);
    config_clear(actuator_options, &shown);
    config_clear(actuator_options, &fallback);
}

static void test_refused_whole(void **state)
{
    static const char *const rows[] = {
        "MaxSize=lots\n",
        "MinSize=2G\nMaxSize=1G\n",
        "RequestRate=0\n",
        "RequestRate=1001\n",
        "RequestBurst=-1\n",
        "RequestTimeout=99ms\n",
        "RequestTimeout=61s\n",
        "Onlining=offline\n",
        "Overcommit=1\n",
        "KernelReserve=maybe\n",
        "LogLevel=loud\n",
        "Speed=9\n",
        "MaxSize=1G\nMaxSize=2G\n",
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        g_autofree char *text = g_strdup_printf("[Actuator]\n%s", rows[i]), *error = NULL;
        struct actuator_config c = { .request_rate = 77 };

        assert_true(load(text, &c, &error) < 0);
        assert_non_null(error);
        assert_int_equal(c.request_rate, 77);
    }
}

static void test_values(void **state)
{
    struct actuator_config c;
    g_autofree char *error = NULL;

    assert_int_equal(load("[Actuator]\nMinSize=512M\nMaxSize=1.5G\nOnlining=keep\nRequestTimeout=500ms\n"
                          "Overcommit=keep\nKernelReserve=no\nPort=/dev/vport1p1\nLogLevel=debug\n",
                             &c, &error),
            0);
    assert_int_equal(c.min_size, MIB(512));
    assert_int_equal(c.max_size, MIB(1536));
    assert_int_equal(c.onlining, HOTPLUG_KEEP);
    assert_int_equal(c.overcommit, OVERCOMMIT_KEEP);
    assert_false(c.kernel_reserve);
    assert_int_equal(c.request_timeout_usec, 500 * USEC_PER_MSEC);
    assert_string_equal(c.port, "/dev/vport1p1");
    config_clear(actuator_options, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_installed_file_shows_the_defaults),
        cmocka_unit_test(test_refused_whole),
        cmocka_unit_test(test_values),
    };

    return cmocka_run_group_tests_name("actuator-config", tests, NULL, NULL);
}
