/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "bytes.h"
#include "lines.h"
#include "ratelimit.h"
#include "text.h"

static void test_bytes_parse(void **state)
{
    static const struct {
        const char *text;
        int result;
        uint64_t bytes;
    } rows[] = {
        { "0", 0, 0 },
        { "4096", 0, 4096 },
        { "1K", 0, 1024 },
        { "512M", 0, MIB(512) },
        { "512m", 0, MIB(512) },
        { "512MiB", 0, MIB(512) },
        { "512MB", 0, MIB(512) },
        { "1.5G", 0, MIB(1536) },
        { "0.25G", 0, MIB(256) },
        { "2T", 0, GIB(2048) },
        { "18446744073709551615", 0, UINT64_MAX },
        { "18446744073709551616", -ERANGE, 0 },
        { "16777216T", -ERANGE, 0 },
        { "99999999999999999999999", -ERANGE, 0 },
        { "", -EINVAL, 0 },
        { "-1", -EINVAL, 0 },
        { "+1", -EINVAL, 0 },
        { " 1", -EINVAL, 0 },
        { "1 G", -EINVAL, 0 },
        { "1.G", -EINVAL, 0 },
        { ".5G", -EINVAL, 0 },
        { "1.5", -EINVAL, 0 },
        { "1.5.5G", -EINVAL, 0 },
        { "1.0000000001G", -EINVAL, 0 },
        { "1X", -EINVAL, 0 },
        { "1GG", -EINVAL, 0 },
        { "0x10", -EINVAL, 0 },
        { "1e3", -EINVAL, 0 },
        { "M", -EINVAL, 0 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        uint64_t bytes = 77;
        int r = bytes_parse(rows[i].text, &bytes);

        if (r != rows[i].result || bytes != (r < 0 ? 77 : rows[i].bytes))
            fail_msg("%s: got %d and %llu", rows[i].text, r, (unsigned long long)bytes);
    }
}

static void test_bytes_format(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {
        { 0, "0" },
        { 1023, "1023" },
        { 1024, "1K" },
        { MIB(512), "512M" },
        { MIB(1536), "1.5G" },
        { MIB(256) + MIB(1024), "1.25G" },
        { GIB(1) + 1, "1.0G" },
        { GIB(14), "14G" },
        { UINT64_MAX, "16.0E" },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        assert_string_equal(FORMAT_BYTES(rows[i].bytes), rows[i].text);
    /* What is shown exactly is read back the same. */
    for (uint64_t n = 1; n < 4096; n++) {
        uint64_t back;

        assert_int_equal(bytes_parse(FORMAT_BYTES(n * MIB(256)), &back), 0);
        assert_int_equal(back, n * MIB(256));
    }
}

static void test_bytes_arithmetic(void **state)
{
    uint64_t x = 5;

    assert_int_equal(bytes_add(UINT64_MAX, 1, &x), -EOVERFLOW);
    assert_int_equal(bytes_mul(UINT64_MAX, 2, &x), -EOVERFLOW);
    assert_int_equal(bytes_round_up(UINT64_MAX, MIB(2), &x), -EOVERFLOW);
    assert_int_equal(bytes_round_up(1, 0, &x), -EINVAL);
    assert_int_equal(x, 5);
    assert_int_equal(bytes_round_up(1, MIB(2), &x), 0);
    assert_int_equal(x, MIB(2));
    assert_int_equal(bytes_round_up(MIB(2), MIB(2), &x), 0);
    assert_int_equal(x, MIB(2));
    assert_int_equal(bytes_round_down(MIB(5), MIB(2)), MIB(4));
    assert_int_equal(bytes_share(GIB(10), 2500), GIB(10) / 4);
    assert_int_equal(bytes_share(UINT64_MAX, PERMYRIAD_ONE), UINT64_MAX);
}

/* The same lines come out wherever the input is cut. */
static void test_lines_at_every_split(void **state)
{
    static const char input[] = "one\n\nthree\r\ntoo long for it\nfive\nrest";
    static const char wanted[] = "one||three\r|!|five|";

    for (size_t cut = 0; cut < sizeof(input); cut++) {
        char buf[8], got[128] = "";
        const char *parts[] = { input, input + cut };
        size_t lengths[] = { cut, sizeof(input) - 1 - MIN_OF(cut, sizeof(input) - 1) };
        struct lines l;

        lines_init(&l, buf, sizeof(buf));
        for (size_t i = 0; i < 2; i++) {
            const char *data = parts[i], *line;
            size_t n = lengths[i], len;
            int r;

            while ((r = lines_next(&l, &data, &n, &line, &len)) != 0) {
                if (r > 0)
                    assert_int_equal(strlen(line), len);
                strcat(strcat(got, r > 0 ? line : "!"), "|");
            }
            assert_int_equal(n, 0);
        }
        assert_string_equal(got, wanted);
    }
}

static void test_lines_resync(void **state)
{
    char buf[16];
    const char *data = "alf\nwhole\n", *line;
    size_t n = strlen(data), len;
    struct lines l;

    lines_init(&l, buf, sizeof(buf));
    lines_reset(&l, true);
    assert_int_equal(lines_next(&l, &data, &n, &line, &len), 1);
    assert_string_equal(line, "whole");
}

static void test_bucket(void **state)
{
    struct bucket b;
    uint64_t now = USEC_PER_SEC;
    unsigned taken = 0;

    bucket_init(&b, 10, 20, now);
    while (bucket_take(&b, now))
        taken++;
    assert_int_equal(taken, 20);
    assert_int_equal(bucket_wait(&b, now), 100 * USEC_PER_MSEC);
    assert_false(bucket_take(&b, now + 99 * USEC_PER_MSEC));
    assert_true(bucket_take(&b, now + 100 * USEC_PER_MSEC));
    /* A clock that goes back gives nothing, and one that leaps no more than the burst. */
    assert_false(bucket_take(&b, 0));
    for (taken = 0; bucket_take(&b, UINT64_MAX / 2); taken++)
        ;
    assert_int_equal(taken, 20);
}

static void test_bucket_never_gives_more_than_its_rate(void **state)
{
    for (uint32_t rate = 1; rate < 50; rate += 7) {
        struct bucket b;
        uint64_t now = 0;
        unsigned taken = 0;

        bucket_init(&b, rate, 5, now);
        for (; now < 10 * USEC_PER_SEC; now += 777)
            taken += bucket_take(&b, now);
        assert_in_range(taken, rate * 10 - 1, rate * 10 + 5);
    }
}

static void test_fault_window(void **state)
{
    struct fault_window w = { 0 };

    for (unsigned i = 0; i < 100; i++)
        assert_false(fault_window_add(&w, 100, 10 * USEC_PER_SEC, i));
    assert_true(fault_window_add(&w, 100, 10 * USEC_PER_SEC, 100));
    assert_false(fault_window_add(&w, 100, 10 * USEC_PER_SEC, 10 * USEC_PER_SEC));
}

static void test_text_excerpt(void **state)
{
    static const struct {
        const char *text, *excerpt;
    } rows[] = {
        { "", "" },
        { "short", "short" },
        { "12345678901234567890123456789012", "12345678901234567890123456789012" },
        { "123456789012345678901234567890123", "12345678901234567890123456789012" },
        /* Two, three and four bytes a character, cut at each of them. */
        { "1234567890123456789012345678901\u00e9", "1234567890123456789012345678901" },
        { "123456789012345678901234567890\u00e9x", "123456789012345678901234567890\u00e9" },
        { "123456789012345678901234567890\u20ac", "123456789012345678901234567890" },
        { "12345678901234567890123456789\u20acx", "12345678901234567890123456789\u20ac" },
        { "12345678901234567890123456789\U0001f600", "12345678901234567890123456789" },
        { "1234567890123456789012345678\U0001f600x", "1234567890123456789012345678\U0001f600" },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        assert_string_equal(TEXT_EXCERPT(rows[i].text), rows[i].excerpt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_parse),
        cmocka_unit_test(test_text_excerpt),
        cmocka_unit_test(test_bytes_format),
        cmocka_unit_test(test_bytes_arithmetic),
        cmocka_unit_test(test_lines_at_every_split),
        cmocka_unit_test(test_lines_resync),
        cmocka_unit_test(test_bucket),
        cmocka_unit_test(test_bucket_never_gives_more_than_its_rate),
        cmocka_unit_test(test_fault_window),
    };

    return cmocka_run_group_tests_name("common", tests, NULL, NULL);
}
