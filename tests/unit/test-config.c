/* SPDX-License-Identifier: MIT */
/* The strict reader: what it takes, what it refuses, and what it says then. */
#include "unit.h"

#include <glib.h>

#include "bytes.h"
#include "config.h"

enum colour {
    RED,
    GREEN,
};

static const char *const colours[] = { "red", "green", NULL };

struct target {
    uint64_t size;
    uint64_t bounded;
    uint64_t time;
    uint64_t bounded_time;
    uint32_t number;
    uint32_t bounded_number;
    bool flag;
    int colour;
    char *text;
    char *path;
};

#define OPTION(group, key, type, member, ...)                                                                \
    {                                                                                                        \
        group, key, type, offsetof(struct target, member), __VA_ARGS__                                       \
    }

static const struct config_option table[] = {
    OPTION("Main", "Size", CONFIG_BYTES, size, 0, 0, NULL),
    OPTION("Main", "Bounded", CONFIG_BYTES, bounded, MIB(1), GIB(1), NULL),
    OPTION("Main", "Time", CONFIG_USEC, time, 0, 0, NULL),
    OPTION("Main", "BoundedTime", CONFIG_USEC, bounded_time, 100 * USEC_PER_MSEC, 60 * USEC_PER_SEC, NULL),
    OPTION("Main", "Number", CONFIG_UINT, number, 0, 0, NULL),
    OPTION("Main", "BoundedNumber", CONFIG_UINT, bounded_number, 1, 100, NULL),
    OPTION("Other", "Flag", CONFIG_BOOL, flag, 0, 0, NULL),
    OPTION("Other", "Colour", CONFIG_ENUM, colour, 0, 0, colours),
    OPTION("Other", "Text", CONFIG_STRING, text, 0, 0, NULL),
    OPTION("Other", "Path", CONFIG_PATH, path, 0, 0, NULL),
    OPTION("Other", "Size", CONFIG_BYTES, bounded, 0, 0, NULL),
    { NULL, NULL, 0, 0, 0, 0, NULL },
};

static int parse(const char *text, struct target *t, char **ret_error)
{
    return config_parse("file", text, table, t, NULL, NULL, ret_error);
}

static void accept_text(const char *text, struct target *t)
{
    g_autofree char *error = NULL;

    if (parse(text, t, &error) < 0)
        fail_msg("%s: %s", text, error);
    assert_null(error);
}

/* One value, in the group that has the key. */
static void test_values(void **state)
{
    static const struct {
        const char *line;
        size_t offset;
        uint64_t value;
    } rows[] = {
#define AT(member) offsetof(struct target, member)
        { "[Main]\nSize=0\n", AT(size), 0 },
        { "[Main]\nSize=1.5G\n", AT(size), GIB(3) / 2 },
        { "[Main]\nSize=18446744073709551615\n", AT(size), UINT64_MAX },
        { "[Main]\n  Size  =  4K  \n", AT(size), 4096 },
        { "[Main]\nBounded=1M\n", AT(bounded), MIB(1) },
        { "[Main]\nBounded=1G\n", AT(bounded), GIB(1) },
        { "[Main]\nTime=7\n", AT(time), 7 * USEC_PER_SEC },
        { "[Main]\nTime=0\n", AT(time), 0 },
        { "[Main]\nTime=3us\n", AT(time), 3 },
        { "[Main]\nTime=250ms\n", AT(time), 250 * USEC_PER_MSEC },
        { "[Main]\nTime=9s\n", AT(time), 9 * USEC_PER_SEC },
        { "[Main]\nTime=2min\n", AT(time), 120 * USEC_PER_SEC },
        { "[Main]\nTime=1h\n", AT(time), 3600 * USEC_PER_SEC },
        { "[Main]\nTime=18446744073709551615us\n", AT(time), UINT64_MAX },
        { "[Main]\nBoundedTime=100ms\n", AT(bounded_time), 100 * USEC_PER_MSEC },
        { "[Main]\nBoundedTime=1min\n", AT(bounded_time), 60 * USEC_PER_SEC },
        { "[Other]\nSize=5\n", AT(bounded), 5 },
#undef AT
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct target t = { .size = 77, .bounded = 77, .time = 77 };
        uint64_t value;

        accept_text(rows[i].line, &t);
        memcpy(&value, (const char *)&t + rows[i].offset, sizeof(value));
        assert_int_equal(value, rows[i].value);
    }
}

static void test_other_kinds(void **state)
{
    static const char *const yes[] = { "yes", "true", "on", "1" };
    static const char *const no[] = { "no", "false", "off", "0" };
    struct target t = { 0 };

    for (size_t i = 0; i < ELEMENTSOF(yes); i++) {
        g_autofree char *on = g_strdup_printf("[Other]\nFlag=%s\n", yes[i]);
        g_autofree char *off = g_strdup_printf("[Other]\nFlag=%s\n", no[i]);

        accept_text(on, &t);
        assert_true(t.flag);
        accept_text(off, &t);
        assert_false(t.flag);
    }
    accept_text("[Main]\nNumber=4294967295\nBoundedNumber=100\n[Other]\nColour=green\nText=a = b # c\n", &t);
    assert_int_equal(t.number, UINT32_MAX);
    assert_int_equal(t.bounded_number, 100);
    assert_int_equal(t.colour, GREEN);
    /* Everything behind the first sign is the value: no comment, no second sign. */
    assert_string_equal(t.text, "a = b # c");
    accept_text("[Other]\nPath=/run/a b\n", &t);
    assert_string_equal(t.path, "/run/a b");
    accept_text("[Other]\nText=\xc3\xa4\n", &t);
    assert_string_equal(t.text, "\xc3\xa4");
    config_clear(table, &t);
    assert_null(t.text);
    assert_null(t.path);
}

static void test_layout(void **state)
{
    struct target t = { .number = 1 };

    accept_text("", &t);
    accept_text("\n\n  \n# only = this\n  # and this\n", &t);
    assert_int_equal(t.number, 1);
    /* Windows' line ends, no newline at the end, groups in any order, the same key in two groups. */
    accept_text("\r\n[Other]\r\nSize=2K\r\nColour=green\r\n[Main]\r\nNumber=9", &t);
    assert_int_equal(t.number, 9);
    assert_int_equal(t.bounded, 2048);
    assert_int_equal(t.colour, GREEN);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text;
        int error;
        const char *says;
    } rows[] = {
        { "[Main]\nNumber=1\nNumber=1\n", -EEXIST,
                "file:3: [Main] Number=1: the key stands in this group twice" },
        { "[Main]\nNumber=1\n Number = 2\n", -EEXIST, "file:3: [Main] Number=2: " },
        { "[Main]\n[Other]\n[Main]\n", -EEXIST, "file:3: group [Main] stands here twice" },
        { "[Main]\nNumbr=1\n", -EBADMSG, "file:2: [Main] Numbr=1: the key is not known" },
        { "[Main]\nnumber=1\n", -EBADMSG, "number=1" },
        { "[Main]\n=1\n", -EBADMSG, "[Main] =1" },
        { "[Main]\nFlag=yes\n", -EBADMSG, "[Main] Flag=yes" },
        { "[Mian]\nNumber=1\n", -EBADMSG, "file:1: group [Mian] is not known" },
        { "[main]\n", -EBADMSG, "[main]" },
        { "[ Main ]\n", -EBADMSG, "[ Main ]" },
        { "Number=1\n[Main]\n", -EBADMSG, "file:1: Number=1 stands before the first [Group]" },
        { "\n\nwords\n", -EBADMSG, "file:3: words: neither" },
        { "[Main]\nNumber\n", -EBADMSG, "Number: neither" },
        { "; not a comment here\n", -EBADMSG, "neither" },
        { "[Main\n", -EBADMSG, "[Main: not a group" },
        { "[Main] # comment\n", -EBADMSG, "not a group" },
        { "[]\n", -EBADMSG, "not a group" },
        { "[\n", -EBADMSG, "not a group" },
        { "\xef\xbb\xbf[Main]\n", -EBADMSG, "neither" },
        { "[Main]\nNumber=\xff\n", -EBADMSG, "file: not UTF-8" },
        { "[Main]\nNumber=\n", -EINVAL, "Number=: not a whole number" },
        { "[Main]\nNumber=-1\n", -EINVAL, "Number=-1" },
        { "[Main]\nNumber=+1\n", -EINVAL, "Number=+1" },
        { "[Main]\nNumber=0x10\n", -EINVAL, "Number=0x10" },
        { "[Main]\nNumber=1 2\n", -EINVAL, "Number=1 2" },
        { "[Main]\nNumber=4294967296\n", -EINVAL, "Number=4294967296" },
        { "[Main]\nBoundedNumber=0\n", -ERANGE, "not a whole number from 1 to 100" },
        { "[Main]\nBoundedNumber=101\n", -ERANGE, "BoundedNumber=101" },
        { "[Main]\nSize=many\n", -EINVAL, "not a size like 512M or 1.5G" },
        { "[Main]\nSize=-1\n", -EINVAL, "Size=-1" },
        { "[Main]\nSize=18446744073709551616\n", -ERANGE, "Size=18446744073709551616" },
        { "[Main]\nBounded=1048575\n", -ERANGE, "not a size from 1M to 1G" },
        { "[Main]\nBounded=1073741825\n", -ERANGE, "Bounded=1073741825" },
        { "[Main]\nTime=1.5s\n", -EINVAL, "not a time like 100ms, 5s or 2min" },
        { "[Main]\nTime=5 s\n", -EINVAL, "Time=5 s" },
        { "[Main]\nTime=5m\n", -EINVAL, "Time=5m" },
        { "[Main]\nTime=-5s\n", -EINVAL, "Time=-5s" },
        { "[Main]\nTime=18446744073709551616us\n", -ERANGE, "Time=" },
        { "[Main]\nTime=18446744073709551615ms\n", -ERANGE, "Time=" },
        { "[Main]\nBoundedTime=99ms\n", -ERANGE, "not a time from 100ms to 60000ms" },
        { "[Main]\nBoundedTime=61s\n", -ERANGE, "BoundedTime=61s" },
        { "[Other]\nFlag=Yes\n", -EINVAL, "[Other] Flag=Yes: not yes or no" },
        { "[Other]\nFlag=2\n", -EINVAL, "Flag=2" },
        { "[Other]\nColour=blue\n", -EINVAL, "Colour=blue: not one of red, green" },
        { "[Other]\nColour=\n", -EINVAL, "Colour=: not one of" },
        { "[Other]\nPath=run/a\n", -EINVAL, "Path=run/a: not an absolute path like /run/" },
        { "[Other]\nPath=./a\n", -EINVAL, "Path=./a" },
        { "[Other]\nPath=\n", -EINVAL, "Path=: not an absolute path" },
        { "[Other]\nText=\n", -EINVAL, "Text=: not a text that is not empty" },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct target t = { .number = 77 };
        g_autofree char *error = NULL;
        int r = parse(rows[i].text, &t, &error);

        config_clear(table, &t);
        assert_non_null(error);
        if (r != rows[i].error || !strstr(error, rows[i].says))
            fail_msg("row %zu: %d, %s", i, r, error);
    }
}

static void test_long_lines(void **state)
{
    g_autofree char *many = g_strnfill(100000, 'x');
    g_autofree char *value = g_strdup_printf("[Other]\nText=%s\n", many);
    g_autofree char *comment = g_strdup_printf("#%s\n[Main]\nNumber=4\n", many);
    g_autofree char *group = g_strdup_printf("[%s]\n", many);
    g_autofree char *key = g_strdup_printf("[Main]\n%s=1\n", many);
    g_autofree char *error1 = NULL, *error2 = NULL;
    struct target t = { 0 };

    accept_text(value, &t);
    assert_int_equal(strlen(t.text), 100000);
    config_clear(table, &t);
    accept_text(comment, &t);
    assert_int_equal(t.number, 4);
    assert_int_equal(parse(group, &t, &error1), -EBADMSG);
    assert_int_equal(parse(key, &t, &error2), -EBADMSG);
}

struct vm {
    uint32_t number;
};

static const struct config_option vm_table[] = {
    { "any", "Number", CONFIG_UINT, offsetof(struct vm, number), 0, 0, NULL },
    { NULL, NULL, 0, 0, 0, 0, NULL },
};

static int on_group(
        const char *group, void *userdata, const struct config_option **ret_table, void **ret_target)
{
    struct vm *vms = userdata;

    if (!g_str_has_prefix(group, "VM "))
        return -ENOENT;
    if (streq(group, "VM first") || streq(group, "VM second")) {
        *ret_table = vm_table;
        *ret_target = &vms[streq(group, "VM second")];
        return 0;
    }
    return -E2BIG;
}

static void test_groups_of_the_callers(void **state)
{
    struct vm vms[2] = { 0 };
    struct target t = { 0 };
    g_autofree char *error1 = NULL, *error2 = NULL, *error3 = NULL;

    assert_int_equal(config_parse("file", "[VM second]\nNumber=2\n[Main]\nNumber=3\n[VM first]\nNumber=1\n",
                             table, &t, on_group, vms, &error1),
            0);
    assert_null(error1);
    assert_int_equal(vms[0].number, 1);
    assert_int_equal(vms[1].number, 2);
    assert_int_equal(t.number, 3);
    /* The table's keys are not the caller's. */
    assert_int_equal(
            config_parse("file", "[VM first]\nSize=2\n", table, &t, on_group, vms, &error1), -EBADMSG);
    assert_int_equal(config_parse("file", "[Host]\n", table, &t, on_group, vms, &error2), -EBADMSG);
    assert_int_equal(config_parse("file", "[VM third]\n", table, &t, on_group, vms, &error3), -E2BIG);
}

static void test_files(void **state)
{
    g_autofree char *path = g_strdup_printf("/tmp/test-config-%d.conf", (int)getpid());
    g_autofree char *big = g_strnfill(300 * 1024, '\n');
    g_autofree char *none = NULL, *nul = NULL, *large = NULL, *folder = NULL, *bad = NULL;
    struct target t = { 0 };

    assert_int_equal(config_load(path, table, &t, NULL, NULL, &none), -ENOENT);
    assert_non_null(strstr(none, path));
    assert_int_equal(config_load("/tmp", table, &t, NULL, NULL, &folder), -EISDIR);
    assert_true(g_file_set_contents(path, "[Main]\nNumber=5\n", -1, NULL));
    assert_int_equal(config_load(path, table, &t, NULL, NULL, &bad), 0);
    assert_int_equal(t.number, 5);
    assert_true(g_file_set_contents(path, "[Main]\nNumber=6\0\n", 17, NULL));
    assert_int_equal(config_load(path, table, &t, NULL, NULL, &nul), -EBADMSG);
    assert_true(g_file_set_contents(path, big, -1, NULL));
    assert_int_equal(config_load(path, table, &t, NULL, NULL, &large), -EFBIG);
    assert_true(g_file_set_contents(path, "[Main]\n\nNumber=x\n", -1, NULL));
    assert_int_equal(config_load(path, table, &t, NULL, NULL, &bad), -EINVAL);
    assert_non_null(strstr(bad, ":3: [Main] Number=x: "));
    assert_true(g_str_has_prefix(bad, path));
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_other_kinds),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_groups_of_the_callers),
        cmocka_unit_test(test_files),
    };

    cmocka_set_message_output(CM_OUTPUT_STDOUT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
