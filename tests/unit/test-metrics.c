/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "bytes.h"
#include "metrics-text.h"

static void test_histogram(void **state)
{
    static const struct {
        uint64_t usec;
        unsigned bucket;
    } rows[] = {
        { 0, 0 },
        { 250, 0 },
        { 251, 1 },
        { 1000, 2 },
        { 10000000, HISTOGRAM_BUCKETS - 1 },
        { 10000001, HISTOGRAM_BUCKETS },
        { UINT64_MAX / 2, HISTOGRAM_BUCKETS },
    };

    for (unsigned i = 1; i < HISTOGRAM_BUCKETS; i++)
        assert_true(histogram_bounds[i] > histogram_bounds[i - 1]);
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct histogram h = { 0 };

        histogram_add(&h, rows[i].usec);
        assert_int_equal(h.counts[rows[i].bucket], 1);
        assert_int_equal(h.sum, rows[i].usec);
    }
}

static void test_address(void **state)
{
    static const struct {
        const char *text;
        int family;
        bool local;
    } rows[] = {
        { "127.0.0.1:9811", AF_INET, true },
        { "127.1.2.3:1", AF_INET, true },
        { "0.0.0.0:65535", AF_INET, false },
        { "192.0.2.1:80", AF_INET, false },
        { "[::1]:9811", AF_INET6, true },
        { "[::]:9811", AF_INET6, false },
        { "", 0, false },
        { ":9811", 0, false },
        { "127.0.0.1", 0, false },
        { "127.0.0.1:", 0, false },
        { "127.0.0.1:0", 0, false },
        { "127.0.0.1:65536", 0, false },
        { "127.0.0.1:99999999999999999999", 0, false },
        { "127.0.0.1:80x", 0, false },
        { "127.0.0.1:-1", 0, false },
        { "localhost:80", 0, false },
        { "::1:80", 0, false },
        { "[::1:80", 0, false },
        { "[127.0.0.1]:80", 0, false },
        { "[]:80", 0, false },
        { "[:80", 0, false },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct sockaddr_storage a = { .ss_family = AF_UNIX };
        bool local = false;
        int r = metrics_parse_address(rows[i].text, &a, &local);

        assert_int_equal(r, rows[i].family == 0 ? -EINVAL : 0);
        assert_int_equal(a.ss_family, rows[i].family == 0 ? AF_UNIX : rows[i].family);
        assert_int_equal(local, rows[i].local);
    }
}

static void assert_line(const GString *text, const char *line)
{
    g_autofree char *framed = g_strdup_printf("\n%s\n", line);

    if (!strstr(text->str, framed))
        fail_msg("no line %s in:\n%s", line, text->str);
}

static void test_text(void **state)
{
    g_autoptr(GString) text = g_string_new("\n");
    struct host_view host = {
        .total = GIB(64), .available = GIB(9), .reserve = GIB(1), .pressure10 = 105, .vms = 2
    };
    struct vm_answer none = { 0 };
    struct vm_counters counters[2] = { { .grants = 7, .bad_lines = 3 }, { 0 } };
    struct vm_view vms[2];
    struct histogram h = { 0 };

    counters[0].refusals[CHANNEL_CODE_HOST_MEMORY] = 5;
    for (unsigned i = 0; i < 2; i++)
        vms[i] = (struct vm_view){
            .name = i == 0 ? "guest1" : "a\"b\\c\nd",
            .agent = "",
            .life = i == 0 ? VM_LIFE_IDLE : VM_LIFE_NO_QEMU,
            .max_size = i == 0 ? GIB(4) : UINT64_MAX,
            .weight = 100,
            .pause_reason = "",
            .last_grant = &none,
            .last_refusal = &none,
            .counters = &counters[i],
        };
    vms[0].stats = (struct vm_stats){
        .available = MIB(5), .some10 = 10000, .level = CHANNEL_LEVEL_RISING, .time = 1
    };
    histogram_add(&h, 300);
    histogram_add(&h, 1500000);
    metrics_text(text, &host, &h, vms, 2);
    assert_line(text, "vmtide_build_info{version=\"" VMTIDE_VERSION "\"} 1");
    assert_line(text, "vmtide_host_memory_available_bytes 9663676416");
    assert_line(text, "vmtide_host_pressure_ratio 0.0105");
    assert_line(text, "vmtide_grant_duration_seconds_bucket{le=\"0.000250\"} 0");
    assert_line(text, "vmtide_grant_duration_seconds_bucket{le=\"0.000500\"} 1");
    assert_line(text, "vmtide_grant_duration_seconds_bucket{le=\"2.500000\"} 2");
    assert_line(text, "vmtide_grant_duration_seconds_bucket{le=\"+Inf\"} 2");
    assert_line(text, "vmtide_grant_duration_seconds_sum 1.500300");
    assert_line(text, "vmtide_grant_duration_seconds_count 2");
    assert_line(text, "vmtide_vm_max_size_bytes{vm=\"guest1\"} 4294967296");
    assert_line(text, "vmtide_vm_max_size_bytes{vm=\"a\\\"b\\\\c\\nd\"} +Inf");
    assert_line(text, "vmtide_vm_guest_pressure_ratio{vm=\"guest1\"} 1.0000");
    assert_line(text, "vmtide_vm_grants_total{vm=\"guest1\"} 7");
    assert_line(text, "vmtide_vm_bad_lines_total{vm=\"guest1\"} 3");
    assert_line(text, "vmtide_vm_refusals_total{vm=\"guest1\",code=\"host-memory\"} 5");
    assert_line(text, "vmtide_vm_state{vm=\"guest1\",state=\"idle\"} 1");
    assert_line(text, "vmtide_vm_level{vm=\"guest1\",level=\"rising\"} 1");
    assert_null(strstr(text->str, "vmtide_vm_level{vm=\"a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_address),
        cmocka_unit_test(test_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
