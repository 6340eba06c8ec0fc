/* SPDX-License-Identifier: MIT */
/* The recorder: its lines, their times, and the file after a full disk. */
#include "unit.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "record.h"

#define MEMORY                                                                                               \
    {                                                                                                        \
        .total = 1000, .free = 300, .available = 500, .buffers = 10, .cached = 250, .shmem = 40,             \
        .sreclaimable = 30                                                                                   \
    }

static const struct decide_sample sample = {
    .have_meminfo = true,
    .meminfo = MEMORY,
    .have_zones = true,
    .zones = { .kernel_free = 77 },
    .connected = true,
    .size = MIB(128),
    .max_size = UINT64_MAX,
    .shrink_to = UINT64_MAX,
};

static const struct decision grow = {
    .action = DECIDE_GROW,
    .why = DECIDE_SHORT,
    .level = CHANNEL_LEVEL_CRITICAL,
    .bytes = MIB(256),
    .wait_usec = 20000,
};

static char path[64];

static int setup(void **state)
{
    (void)snprintf(path, sizeof(path), "/tmp/test-record-%d.csv", (int)getpid());
    (void)unlink(path);
    return 0;
}

static int teardown(void **state)
{
    (void)unlink(path);
    return 0;
}

static char *contents(void)
{
    struct stat st;
    FILE *f = fopen(path, "r");
    char *text;

    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &st), 0);
    text = calloc(1, (size_t)st.st_size + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)st.st_size, f), st.st_size);
    (void)fclose(f);
    return text;
}

/* Returns the cell of a column in a line; line 0 is the first after the header. */
static const char *cell(const char *text, unsigned line, const char *column, char ret[static 64])
{
    const char *head = text, *row = text;
    size_t n;

    for (unsigned i = 0; i <= line; i++) {
        row = strchr(row, '\n');
        assert_non_null(row);
        row++;
    }
    while (strcspn(head, ",\n") != strlen(column) || strncmp(head, column, strlen(column)) != 0) {
        head += strcspn(head, ",\n");
        assert_int_equal(*head, ',');
        head++;
        row += strcspn(row, ",\n");
        assert_int_equal(*row, ',');
        row++;
    }
    n = strcspn(row, ",\n");
    assert_true(n < 64);
    memcpy(ret, row, n);
    ret[n] = '\0';
    return ret;
}

static void test_line_has_the_values(void **state)
{
    static const struct {
        const char *column, *value;
    } cells[] = {
        { "time_s", "0.000000" },
        { "used_bytes", "450" },
        { "cached_bytes", "250" },
        { "mem_available_bytes", "500" },
        { "kernel_free_bytes", "77" },
        { "some_total_us", "" },
        { "oom_kill", "" },
        { "connected", "1" },
        { "in_flight", "0" },
        { "size_bytes", "134217728" },
        { "max_size_bytes", "" },
        { "shrink_to_bytes", "" },
        { "action", "grow" },
        { "change_bytes", "268435456" },
        { "level", "critical" },
        { "wait_us", "20000" },
        { "reclaim_bytes", "0" },
    };
    _cleanup_free_ char *text = NULL;
    struct recorder *r;
    char value[64];

    assert_int_equal(recorder_open(path, &r), 0);
    recorder_write(r, 5000000, &sample, &grow);
    r = recorder_free(r);
    assert_null(r);
    text = contents();
    assert_int_equal(strncmp(text, "time_s,used_bytes,cached_bytes,", 31), 0);
    assert_int_equal(text[strlen(text) - 1], '\n');
    for (size_t i = 0; i < ELEMENTSOF(cells); i++)
        assert_string_equal(cell(text, 0, cells[i].column, value), cells[i].value);
    assert_string_equal(cell(text, 0, "why", value), decide_why_to_string(DECIDE_SHORT));
}

static void test_time_increases_strictly(void **state)
{
    static const struct {
        uint64_t now;
        const char *time;
    } rows[] = {
        { 7000000, "0.000000" },
        { 7000000, "0.000001" },
        { 6000000, "0.000002" },
        { 8500000, "1.500000" },
        { 8500000, "1.500001" },
        { UINT64_C(7000000) + 90000 * USEC_PER_SEC, "90000.000000" },
    };
    _cleanup_free_ char *text = NULL;
    struct recorder *r;
    char value[64];

    assert_int_equal(recorder_open(path, &r), 0);
    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        recorder_write(r, rows[i].now, &sample, &grow);
    recorder_free(r);
    text = contents();
    for (unsigned i = 0; i < ELEMENTSOF(rows); i++)
        assert_string_equal(cell(text, i, "time_s", value), rows[i].time);
}

static void test_no_line_without_meminfo(void **state)
{
    struct decide_sample blind = sample;
    _cleanup_free_ char *text = NULL;
    struct recorder *r;

    blind.have_meminfo = false;
    recorder_write(NULL, 1, &sample, &grow);
    assert_int_equal(recorder_open(path, &r), 0);
    recorder_write(r, 1, &blind, &grow);
    recorder_free(r);
    text = contents();
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

/* Shared memory above the cache, or cache above the memory in use, gives no negative value. */
static void test_no_value_is_negative(void **state)
{
    struct decide_sample odd = sample;
    _cleanup_free_ char *text = NULL;
    struct recorder *r;
    char value[64];

    odd.meminfo.shmem = 5000;
    assert_int_equal(recorder_open(path, &r), 0);
    recorder_write(r, 1, &odd, &grow);
    odd.meminfo.shmem = 0;
    odd.meminfo.cached = 5000;
    recorder_write(r, 2, &odd, &grow);
    recorder_free(r);
    text = contents();
    assert_string_equal(cell(text, 0, "cached_bytes", value), "30");
    assert_string_equal(cell(text, 0, "used_bytes", value), "670");
    assert_string_equal(cell(text, 1, "cached_bytes", value), "700");
    assert_string_equal(cell(text, 1, "used_bytes", value), "0");
}

static void test_lines_reach_the_file_during_the_recording(void **state)
{
    struct recorder *r;
    struct stat st;
    off_t header;

    assert_int_equal(recorder_open(path, &r), 0);
    assert_int_equal(stat(path, &st), 0);
    header = st.st_size;
    assert_true(header > 0);
    for (uint64_t t = 1; t < 10; t++)
        recorder_write(r, t * USEC_PER_SEC, &sample, &grow);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > header);
    header = st.st_size;
    /* A full buffer is also written without the interval. */
    for (uint64_t t = 1; t < 1000; t++)
        recorder_write(r, 10 * USEC_PER_SEC + t, &sample, &grow);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > header);
    recorder_free(r);
}

static void test_existing_file_is_refused(void **state)
{
    _cleanup_free_ char *text = NULL;
    struct recorder *r = NULL;
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs("precious", f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(recorder_open(path, &r), -EEXIST);
    assert_null(r);
    text = contents();
    assert_string_equal(text, "precious");
    assert_int_equal(recorder_open("/nonexistent/folder/file", &r), -ENOENT);
    assert_null(r);
}

static void test_full_disk_leaves_complete_lines(void **state)
{
    struct rlimit old, small;
    _cleanup_free_ char *text = NULL;
    struct recorder *r;
    char value[64];
    unsigned lines = 0;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(recorder_open(path, &r), 0);
    small = (struct rlimit){ .rlim_cur = 100000, .rlim_max = old.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (uint64_t t = 1; t < 5000; t++)
        recorder_write(r, t * USEC_PER_SEC, &sample, &grow);
    recorder_free(r);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    text = contents();
    assert_int_equal(text[strlen(text) - 1], '\n');
    for (const char *p = text; (p = strchr(p, '\n')); p++)
        lines++;
    assert_true(lines > 10);
    assert_string_equal(cell(text, lines - 2, "reclaim_bytes", value), "0");
    assert_true(strlen(text) <= 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_line_has_the_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time_increases_strictly, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_line_without_meminfo, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_value_is_negative, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lines_reach_the_file_during_the_recording, setup, teardown),
        cmocka_unit_test_setup_teardown(test_existing_file_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk_leaves_complete_lines, setup, teardown),
    };

    cmocka_set_message_output(CM_OUTPUT_STDOUT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
