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

static void assert_nothing(const GString *text, const char *begin)
{
    if (strstr(text->str, begin))
        fail_msg("%s should not be in:\n%s", begin, text->str);
}

/* The VMs that metrics_text_step() finds, in any order. */
struct world {
    const struct vm_view *vms;
    unsigned n;
    unsigned asked;
};

static bool find(const char *name, struct vm_view *ret, void *userdata)
{
    struct world *w = userdata;

    w->asked++;
    for (unsigned i = 0; i < w->n; i++)
        if (streq(w->vms[i].name, name)) {
            *ret = w->vms[i];
            return true;
        }
    return false;
}

static struct metrics_text *begin_text(
        const struct host_view *host, const struct histogram *h, const struct world *w)
{
    char **names = g_new0(char *, w->n + 1);

    for (unsigned i = 0; i < w->n; i++)
        names[i] = g_strdup(w->vms[i].name);
    return metrics_text_begin(host, h, names);
}

/* With a newline before it, so that each line stands between two. */
static GString *end_text(struct metrics_text *t)
{
    GString *whole = g_string_new("\n");

    for (unsigned i = 0; i < metrics_text_parts(t); i++)
        g_string_append_len(whole, metrics_text_part(t, i)->str, (gssize)metrics_text_part(t, i)->len);
    metrics_text_free(t);
    return whole;
}

static GString *make_text(const struct host_view *host, const struct histogram *h, struct world *w)
{
    struct metrics_text *t = begin_text(host, h, w);

    while (!metrics_text_step(t, find, w))
        ;
    return end_text(t);
}

static const struct vm_answer none;
static const struct vm_counters no_counters;
static const struct histogram no_grants;

static struct vm_view make_view(const char *name, enum vm_life life)
{
    return (struct vm_view){
        .name = name,
        .agent = "",
        .life = life,
        .weight = 100,
        .pause_reason = "",
        .last_grant = &none,
        .last_refusal = &none,
        .counters = &no_counters,
    };
}

static void test_text(void **state)
{
    struct host_view host = {
        .total = GIB(64),
        .available = GIB(9),
        .reserve = GIB(1),
        .pressure10 = 105,
        .pressure_known = true,
        .vms = 2,
    };
    struct vm_counters counters = { .grants = 7, .bad_lines = 3 };
    struct vm_view vms[2] = {
        make_view("guest1", VM_LIFE_IDLE),
        make_view("a\"b\\c\nd", VM_LIFE_NO_QEMU),
    };
    struct world w = { .vms = vms, .n = 2 };
    struct histogram h = { 0 };
    g_autoptr(GString) text = NULL;

    counters.refusals[CHANNEL_CODE_HOST_MEMORY] = 5;
    vms[0].counters = &counters;
    vms[0].max_size = GIB(4);
    vms[1].max_size = UINT64_MAX;
    vms[0].stats = (struct vm_stats){
        .available = MIB(5), .some10 = 10000, .level = CHANNEL_LEVEL_RISING, .time = 1
    };
    histogram_add(&h, 300);
    histogram_add(&h, 1500000);
    text = make_text(&host, &h, &w);
    assert_line(text, "vmtide_build_info{version=\"" VMTIDE_VERSION "\"} 1");
    assert_line(text, "vmtide_host_memory_available_bytes 9663676416");
    assert_line(text, "vmtide_host_overcommit 0");
    assert_line(text, "vmtide_host_pressure_ratio 0.0105");
    assert_line(text, "vmtide_grant_duration_seconds_bucket{le=\"0.000250\"} 0");
    assert_line(text, "vmtide_grant_duration_seconds_bucket{le=\"0.000500\"} 1");
    assert_line(text, "vmtide_grant_duration_seconds_bucket{le=\"2.500000\"} 2");
    assert_line(text, "vmtide_grant_duration_seconds_bucket{le=\"+Inf\"} 2");
    assert_line(text, "vmtide_grant_duration_seconds_sum 1.500300");
    assert_line(text, "vmtide_grant_duration_seconds_count 2");
    assert_line(text, "vmtide_vm_max_size_bytes{vm=\"guest1\"} 4294967296");
    assert_line(text, "vmtide_vm_max_size_bytes{vm=\"a\\\"b\\\\c\\nd\"} +Inf");
    assert_line(text, "vmtide_vm_guest_available_bytes{vm=\"guest1\"} 5242880");
    assert_line(text, "vmtide_vm_guest_pressure_ratio{vm=\"guest1\"} 1.0000");
    assert_line(text, "vmtide_vm_grants_total{vm=\"guest1\"} 7");
    assert_line(text, "vmtide_vm_bad_lines_total{vm=\"guest1\"} 3");
    assert_line(text, "vmtide_vm_refusals_total{vm=\"guest1\",code=\"host-memory\"} 5");
    assert_line(text, "vmtide_vm_state{vm=\"guest1\",state=\"idle\"} 1");
    assert_line(text, "vmtide_vm_level{vm=\"guest1\",level=\"rising\"} 1");
}

static void test_overcommit(void **state)
{
    struct host_view host = { .over_commit = true };
    struct world w = { 0 };
    g_autoptr(GString) text = make_text(&host, &no_grants, &w);

    assert_line(text, "vmtide_host_overcommit 1");
}

/* What is not known is not there: 0 would be a number like others. What is known to be 0 is. */
static void test_unknown(void **state)
{
    static const char *const of_qemu[] = { "vm_size_bytes", "vm_requested_size_bytes", "vm_boot_size_bytes" };
    static const char *const of_guest[] = { "vm_guest_available_bytes", "vm_guest_total_bytes",
        "vm_guest_pressure_ratio", "vm_level" };
    static const struct {
        enum vm_life life;
        bool qemu;
    } rows[] = {
        { VM_LIFE_NO_QEMU, false },
        { VM_LIFE_NO_NUMBERS, false },
        { VM_LIFE_MIGRATING, true },
        { VM_LIFE_PAUSED, true },
        { VM_LIFE_NO_GUEST, true },
        { VM_LIFE_IDLE, true },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        for (unsigned guest = 0; guest < 2; guest++) {
            struct vm_view v = make_view("a", rows[i].life);
            struct world w = { .vms = &v, .n = 1 };
            struct host_view host = { 0 };
            g_autoptr(GString) text = NULL;

            v.stats = (struct vm_stats){ .time = guest, .level = CHANNEL_LEVEL_NORMAL };
            text = make_text(&host, &no_grants, &w);
            for (size_t k = 0; k < ELEMENTSOF(of_qemu); k++) {
                g_autofree char *line = g_strdup_printf("vmtide_%s{vm=\"a\"} 0", of_qemu[k]);

                if (rows[i].qemu)
                    assert_line(text, line);
                else
                    assert_nothing(text, line);
            }
            for (size_t k = 0; k < ELEMENTSOF(of_guest); k++) {
                g_autofree char *sample = g_strdup_printf("\nvmtide_%s{vm=\"a\"", of_guest[k]);

                assert_int_equal(strstr(text->str, sample) != NULL, guest);
            }
            assert_nothing(text, "\nvmtide_vm_held_bytes{");
            assert_nothing(text, "\nvmtide_host_memory_total_bytes ");
            assert_nothing(text, "\nvmtide_host_memory_available_bytes ");
            assert_nothing(text, "\nvmtide_host_pressure_ratio ");
            assert_line(text, "vmtide_vm_grants_total{vm=\"a\"} 0");
        }
}

#define MANY (METRICS_STEP * 3 + 1)

/* However many VMs there are, a step is so many, and takes each once. */
static void test_steps(void **state)
{
    static const unsigned rows[] = { 0, 1, METRICS_STEP - 1, METRICS_STEP, METRICS_STEP + 1, MANY };
    struct host_view host = { 0 };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct vm_view vms[MANY];
        char names[MANY][8];
        struct world w = { .vms = vms, .n = rows[i] };
        struct metrics_text *t;
        unsigned steps = 0, samples = 0;
        g_autoptr(GString) text = NULL;
        bool whole = false;

        for (unsigned k = 0; k < rows[i]; k++) {
            (void)snprintf(names[k], sizeof(names[k]), "%u", k);
            vms[k] = make_view(names[k], VM_LIFE_IDLE);
        }
        t = begin_text(&host, &no_grants, &w);
        while (!whole) {
            w.asked = 0;
            whole = metrics_text_step(t, find, &w);
            assert_true(w.asked <= METRICS_STEP);
            assert_true(whole || w.asked == METRICS_STEP);
            steps++;
        }
        assert_int_equal(steps, MAX_OF((rows[i] + METRICS_STEP - 1) / METRICS_STEP, 1u));
        text = end_text(t);
        for (const char *at = text->str; (at = strstr(at, "\nvmtide_vm_weight{")); at++)
            samples++;
        assert_int_equal(samples, rows[i]);
    }
}

/* VMs come and go while it is made: who has gone is left out, who has come waits for the next text. */
static void test_changes_in_between(void **state)
{
    struct host_view host = { 0 };
    struct vm_view vms[METRICS_STEP + 2];
    char names[METRICS_STEP + 2][8];
    struct world w = { .vms = vms, .n = ELEMENTSOF(vms) };
    g_autoptr(GString) text = NULL, gone = g_string_new(NULL);
    struct metrics_text *t;

    for (unsigned k = 0; k < w.n; k++) {
        (void)snprintf(names[k], sizeof(names[k]), "%u", k);
        vms[k] = make_view(names[k], VM_LIFE_IDLE);
    }
    t = begin_text(&host, &no_grants, &w);
    assert_false(metrics_text_step(t, find, &w));
    vms[METRICS_STEP] = make_view("new", VM_LIFE_IDLE);
    assert_true(metrics_text_step(t, find, &w));
    text = end_text(t);
    assert_line(text, "vmtide_vm_weight{vm=\"0\"} 100");
    assert_nothing(text, "vm=\"new\"");
    g_string_append_printf(gone, "vm=\"%s\"", names[METRICS_STEP]);
    assert_nothing(text, gone->str);
    g_string_printf(gone, "vmtide_vm_weight{vm=\"%s\"} 100", names[METRICS_STEP + 1]);
    assert_line(text, gone->str);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_address),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_overcommit),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_changes_in_between),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
