/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "bytes.h"
#include "fault.h"
#include "host-judge.h"
#include "host-screen.h"
#include "message-json.h"

static void test_judge(void **state)
{
    static const struct {
        struct host_vm_facts facts;
        enum doctor_verdict verdict;
        const char *text;
    } rows[] = {
        { { .state = "idle", .process = 7, .boot_size = GIB(1), .max_size = GIB(4), .bound = GIB(6) },
                DOCTOR_OK, "idle; bounded by its cgroup at 6G" },
        { { .state = "idle", .process = 7, .boot_size = GIB(1), .max_size = GIB(4), .bound = UINT64_MAX },
                DOCTOR_WARNING, "no cgroup bounds it" },
        { { .state = "idle", .process = 7, .boot_size = GIB(1), .max_size = GIB(4), .bound = GIB(4) },
                DOCTOR_FAULT, "bounded at 4G, boot memory and max size are 5G" },
        { { .state = "idle",
                  .process = 7,
                  .boot_size = GIB(1),
                  .max_size = GIB(4),
                  .bound = GIB(5) + MIB(1) },
                DOCTOR_WARNING, "with 1M for QEMU itself" },
        { { .state = "idle", .process = 7, .boot_size = GIB(1), .max_size = UINT64_MAX, .bound = GIB(2) },
                DOCTOR_OK, "bounded by its cgroup at 2G" },
        { { .state = "idle", .process = 7, .bound_known = -EACCES, .bound = UINT64_MAX }, DOCTOR_UNKNOWN,
                "cannot be read" },
        { { .state = "idle", .bound = UINT64_MAX }, DOCTOR_UNKNOWN, "its process is not known" },
        { { .state = "over-held", .process = 7, .bound = GIB(9) }, DOCTOR_FAULT, "it is over-held" },
        { { .state = "no-qemu" }, DOCTOR_WARNING, "it is no-qemu" },
        { { .state = "no-guest", .process = 7, .bound = GIB(9) }, DOCTOR_WARNING, "it is no-guest" },
        { { .state = "stuck", .process = 7, .bound = GIB(9) }, DOCTOR_WARNING, "it is stuck" },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct doctor_check c = { 0 };

        host_judge_vm(&rows[i].facts, &c);
        if (c.verdict != rows[i].verdict || !strstr(c.text, rows[i].text))
            fail_msg("row %zu: %s: %s", i, doctor_verdict_to_string(c.verdict), c.text);
        assert_int_equal(c.remedy != NULL, rows[i].verdict == DOCTOR_WARNING ||
                                                   rows[i].verdict == DOCTOR_FAULT ||
                                                   rows[i].facts.bound_known < 0);
    }
}

static const char sample[] =
        "{\"Host1\": {\"Total\": 68719476736, \"Available\": 10737418240, \"HostReserve\": 1073741824,"
        " \"Promised\": 0, \"Pressure10\": 123, \"VMs\": 2}, \"VMs\": ["
        "{\"Name\": \"a\", \"State\": \"idle\", \"Size\": 1073741824, \"RequestedSize\": 1073741824, "
        "\"BootSize\": 5,"
        " \"MinSize\": 0, \"MaxSize\": 4294967296, \"Weight\": 100, \"Level\": \"critical\", \"Available\": "
        "1048576,"
        " \"Total\": 2147483648, \"Agent\": \"x\\u001b[2J\", \"Held\": 7340032, \"Process\": 42, "
        "\"PausedUntil\": 0,"
        " \"PauseReason\": \"\", \"LastGrant\": [990000000, 1073741824, \"burst\"],"
        " \"LastRefusal\": [995000000, 2147483648, \"host-memory\", \"no room\"]},"
        "{\"Name\": \"b\", \"State\": \"no-qemu\", \"MaxSize\": null, \"PausedUntil\": null,"
        " \"PauseReason\": \"backup\", \"LastGrant\": [0, 0, \"\"], \"LastRefusal\": [0, 0, \"\", \"\"]}]}";

static void assert_has(const GString *out, const char *text)
{
    if (!strstr(out->str, text))
        fail_msg("no \"%s\" in:\n%s", text, out->str);
}

static void test_screens(void **state)
{
    static const struct draw_style style = { .width = 100 };
    static const struct screen_clock now = { .realtime_usec = 1000000000 };
    g_autoptr(GString) list = g_string_new(NULL), a = g_string_new(NULL), b = g_string_new(NULL);
    _cleanup_json_ json_t *root = json_loads(sample, 0, NULL);

    assert_non_null(root);
    host_screen_list(list, &style, root, &now);
    assert_has(list, "10G of 64G available, 1G reserved, 0 promised, pressure 1.23 %, 2 VMs");
    assert_has(list, "refused host-memory 5 s ago");
    assert_has(list, "1M/2G");
    assert_has(list, "on-hold");
    host_screen_vm(a, &style, host_screen_find(root, "a"), &now);
    assert_has(a, "process 42, holds 7M");
    assert_has(a, "critical, 1M of 2G available");
    assert_has(a, "Last grant  1G, 10 s ago: burst");
    assert_has(a, "2G, 5 s ago: host-memory, no room");
    assert_null(strchr(a->str, '\033'));
    host_screen_vm(b, &style, host_screen_find(root, "b"), &now);
    assert_has(b, "until it is resumed: backup");
    assert_has(b, "0 to what its devices can hold");
    assert_null(host_screen_find(root, "c"));
}

static void test_cut(void **state)
{
    static const struct {
        unsigned rows;
        const char *text;
    } rows[] = {
        { 6, "a\nb\nc\nd\ne\n" },
        { 5, "a\nb\nc\n… 2 more; a taller terminal or host list shows them\n" },
        { 3, "a\n… 4 more; a taller terminal or host list shows them\n" },
        { 1, "a\n… 4 more; a taller terminal or host list shows them\n" },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        g_autoptr(GString) out = g_string_new("a\nb\nc\nd\ne\n");

        draw_cut(out, rows[i].rows);
        assert_string_equal(out->str, rows[i].text);
    }
}

static void test_advice_fits_a_host(void **state)
{
    static const char *const errors[] = { "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.DBus.Error.NameHasNoOwner", "org.vmtide.Error.HostUnavailable",
        "org.vmtide.Error.LimitExceeded" };

    for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
        struct fault guests = fault_of(errors[i]), f = fault_of_host(errors[i]);

        assert_int_equal(f.status, guests.status);
        assert_non_null(strstr(f.advice, "host"));
        assert_null(strstr(f.advice, "actuator"));
    }
}

/* A daemon of another version, or none. */
static void test_nothing_is_no_harm(void **state)
{
    static const char *const texts[] = { "{}", "{\"Host1\": null, \"VMs\": null}", "{\"VMs\": [{}, 5, null]}",
        "{\"VMs\": [{\"LastGrant\": 5, \"LastRefusal\": [\"x\", -1], \"Name\": 7}]}" };
    static const struct draw_style style = { .width = 60 };
    static const struct screen_clock now = { .realtime_usec = 1 };

    for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
        g_autoptr(GString) out = g_string_new(NULL);
        _cleanup_json_ json_t *root = json_loads(texts[i], 0, NULL);

        host_screen_list(out, &style, root, &now);
        host_screen_vm(out, &style, json_array_get(json_object_get(root, "VMs"), 0), &now);
        assert_true(g_utf8_validate(out->str, -1, NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_screens),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_advice_fits_a_host),
        cmocka_unit_test(test_nothing_is_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
