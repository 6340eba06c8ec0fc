/* SPDX-License-Identifier: MIT */
/* vmtidectl's command line. */
#include "unit.h"

#include <glib.h>

#include "bytes.h"
#include "options.h"

static int parse(const char *line, struct ctl_options *ret, char **ret_text)
{
    g_auto(GStrv) argv = NULL;

    assert_true(g_shell_parse_argv(line, NULL, &argv, NULL));
    return options_parse(argv, ret, ret_text);
}

static void test_what_is_taken(void **state)
{
    static const struct {
        const char *line;
        struct ctl_options want;
        const char *vm;
        const char *why;
        const char *command;
    } rows[] = {
        { .line = "vmtidectl", .want = { .verb = VERB_STATUS, .ask_password = true } },
        { .line = "vmtidectl --json", .want = { .verb = VERB_STATUS, .ask_password = true, .json = true } },
        { .line = "vmtidectl status --json",
                .want = { .verb = VERB_STATUS, .ask_password = true, .json = true } },
        { .line = "vmtidectl --json status",
                .want = { .verb = VERB_STATUS, .ask_password = true, .json = true } },
        { .line = "vmtidectl host", .want = { .verb = VERB_HOST_LIST, .ask_password = true } },
        { .line = "vmtidectl host --json",
                .want = { .verb = VERB_HOST_LIST, .ask_password = true, .json = true } },
        { .line = "vmtidectl --json host list",
                .want = { .verb = VERB_HOST_LIST, .ask_password = true, .json = true } },
        { .line = "vmtidectl host show vm1",
                .vm = "vm1",
                .want = { .verb = VERB_HOST_SHOW, .ask_password = true } },
        { .line = "vmtidectl host set-weight vm1 200 --persist",
                .vm = "vm1",
                .want = { .verb = VERB_HOST_SET_WEIGHT,
                        .ask_password = true,
                        .weight = 200,
                        .persist = true } },
        { .line = "vmtidectl host set-limits vm1 --max 2G",
                .vm = "vm1",
                .want = { .verb = VERB_HOST_SET_LIMITS,
                        .ask_password = true,
                        .min = UINT64_MAX,
                        .max = GIB(2) } },
        { .line = "vmtidectl host shrink vm1 1G --why x",
                .vm = "vm1",
                .why = "x",
                .want = { .verb = VERB_HOST_SHRINK, .ask_password = true, .size = GIB(1) } },
        { .line = "vmtidectl host pause vm1 --for 10min",
                .vm = "vm1",
                .want = { .verb = VERB_HOST_PAUSE, .ask_password = true, .seconds = 600 } },
        { .line = "vmtidectl --no-ask-password plug 1.5G", .want = { .verb = VERB_PLUG, .size = MIB(1536) } },
        { .line = "vmtidectl plug 512M --why 'a build'",
                .want = { .verb = VERB_PLUG, .ask_password = true, .size = MIB(512) },
                .why = "a build" },
        { .line = "vmtidectl unplug --why= 4096",
                .want = { .verb = VERB_UNPLUG, .ask_password = true, .size = 4096 },
                .why = "" },
        { .line = "vmtidectl set-limits --max 4G --persist",
                .want = { .verb = VERB_SET_LIMITS,
                        .ask_password = true,
                        .max = GIB(4),
                        .min = UINT64_MAX,
                        .persist = true } },
        { .line = "vmtidectl set-limits --min=1G --max=0",
                .want = { .verb = VERB_SET_LIMITS, .ask_password = true, .min = GIB(1) } },
        { .line = "vmtidectl set-limits --min 0",
                .want = { .verb = VERB_SET_LIMITS, .ask_password = true, .max = UINT64_MAX } },
        { .line = "vmtidectl set-limits --reset",
                .want = { .verb = VERB_SET_LIMITS,
                        .ask_password = true,
                        .reset = true,
                        .min = UINT64_MAX,
                        .max = UINT64_MAX } },
        { .line = "vmtidectl reserve 1G",
                .want = { .verb = VERB_RESERVE, .ask_password = true, .size = GIB(1) } },
        { .line = "vmtidectl reserve 1G --why x -- cam --json -n 3",
                .want = { .verb = VERB_RESERVE, .ask_password = true, .size = GIB(1) },
                .why = "x",
                .command = "cam --json -n 3" },
        { .line = "vmtidectl reserve 1G -- cam -- x",
                .want = { .verb = VERB_RESERVE, .ask_password = true, .size = GIB(1) },
                .command = "cam -- x" },
        { .line = "vmtidectl pause --for 10min",
                .want = { .verb = VERB_PAUSE, .ask_password = true, .seconds = 600 } },
        { .line = "vmtidectl explain -n 3",
                .want = { .verb = VERB_EXPLAIN, .ask_password = true, .count = 3 } },
        { .line = "vmtidectl monitor --count=1 --json",
                .want = { .verb = VERB_MONITOR, .ask_password = true, .count = 1, .json = true } },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        const struct ctl_options *want = &rows[i].want;
        _cleanup_(options_clear) struct ctl_options o = { 0 };
        g_autofree char *text = NULL, *command = NULL;
        int r = parse(rows[i].line, &o, &text);

        if (r != 0)
            fail_msg("%s: %s", rows[i].line, text);
        command = o.command ? g_strjoinv(" ", o.command) : NULL;
        if (o.verb != want->verb || o.json != want->json || o.ask_password != want->ask_password ||
                o.size != want->size || o.min != want->min || o.max != want->max ||
                o.persist != want->persist || o.count != want->count || o.seconds != want->seconds ||
                g_strcmp0(o.why, rows[i].why) != 0 || g_strcmp0(o.vm, rows[i].vm) != 0 ||
                o.weight != want->weight || g_strcmp0(command, rows[i].command) != 0)
            fail_msg("%s: taken for something else", rows[i].line);
    }
}

static void test_what_is_refused(void **state)
{
    static const struct {
        const char *line;
        const char *says;
    } rows[] = {
        { "vmtidectl frob", "frob" },
        { "vmtidectl host frob", "host frob" },
        { "vmtidectl host show", "wants a VM" },
        { "vmtidectl host show a b", "b" },
        { "vmtidectl host shrink a", "wants a size" },
        { "vmtidectl host shrink a x", "x" },
        { "vmtidectl host set-weight a", "wants a weight" },
        { "vmtidectl host set-weight a 10001", "10001" },
        { "vmtidectl host set-weight a -1", "-1" },
        { "vmtidectl host set-limits a", "--max" },
        { "vmtidectl host resume a --json", "JSON" },
        { "vmtidectl host list -- ls", "no command" },
        { "vmtidectl --frob", "--frob" },
        { "vmtidectl plug", "wants a size" },
        { "vmtidectl plug 1M 2M", "2M" },
        { "vmtidectl plug 5X", "5X" },
        { "vmtidectl plug -5M", "-5" },
        { "vmtidectl plug 99999999999G", "larger" },
        { "vmtidectl plug 1M --min 3", "--min" },
        { "vmtidectl plug 1M --persist", "--persist" },
        { "vmtidectl plug 1M -- ls", "no command" },
        { "vmtidectl status 5", "5" },
        { "vmtidectl -- ls", "no command" },
        { "vmtidectl reserve 1M --", "command" },
        { "vmtidectl reserve -- ls", "wants a size" },
        { "vmtidectl reserve 1M --json", "JSON" },
        { "vmtidectl set-limits", "--max" },
        { "vmtidectl set-limits --persist", "--max" },
        { "vmtidectl set-limits --max much", "much" },
        { "vmtidectl set-limits --max 18446744073709551615", "larger" },
        { "vmtidectl set-limits --reset --min 1G", "--reset" },
        { "vmtidectl set-limits --reset --persist", "--reset" },
        { "vmtidectl plug 1M --reset", "--reset" },
        { "vmtidectl pause --json", "JSON" },
        { "vmtidectl pause --for 0", "--for 0" },
        { "vmtidectl pause --for 10ms", "10ms" },
        { "vmtidectl pause --for 9999999999999h", "--for" },
        { "vmtidectl explain -n -1", "-1" },
        { "vmtidectl explain -n x", "x" },
        { "vmtidectl plug 1M --why 'a\nb'", "control" },
        { "vmtidectl plug 1M --bus", "--bus" },
    };
    g_autofree char *longest = g_strnfill(WHY_MAX, 'x'), *good = NULL, *bad = NULL, *text = NULL;
    _cleanup_(options_clear) struct ctl_options o = { 0 };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        g_autofree char *said = NULL;
        struct ctl_options none = { 0 };

        assert_int_equal(parse(rows[i].line, &none, &said), -EINVAL);
        if (!said || !strstr(said, rows[i].says))
            fail_msg("%s: says %s", rows[i].line, said);
        assert_null(none.command);
    }
    good = g_strdup_printf("vmtidectl pause --why %s", longest);
    bad = g_strdup_printf("vmtidectl pause --why %sx", longest);
    assert_int_equal(parse(good, &o, &text), 0);
    assert_int_equal(parse(bad, &o, &text), -EINVAL);
}

static void test_help_and_version(void **state)
{
    struct ctl_options o;

    for (enum verb v = 0; v < _VERB_MAX; v++) {
        g_autofree char *line = g_strdup_printf("vmtidectl %s --help", verb_spec(v)->name);
        g_autofree char *text = NULL, *all = NULL;
        g_auto(GStrv) lines = NULL;

        assert_int_equal(verb_from_string(verb_spec(v)->name), v);
        assert_int_equal(parse(line, &o, &text), 1);
        assert_non_null(strstr(text, verb_spec(v)->name));
        assert_int_equal(parse("vmtidectl --help", &o, &all), 1);
        assert_non_null(strstr(all, verb_spec(v)->summary));
        lines = g_strsplit(all, "\n", -1);
        for (char **l = lines; *l; l++)
            assert_in_range(g_utf8_strlen(*l, -1), 0, 80);
    }
    for (size_t i = 0; i < 2; i++) {
        g_autofree char *text = NULL;

        assert_int_equal(parse(i ? "vmtidectl --version" : "vmtidectl plug --version", &o, &text), 1);
        assert_string_equal(text, "vmtidectl " VMTIDE_VERSION "\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_taken),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_help_and_version),
    };

    g_set_prgname("vmtidectl");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
