/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "bytes.h"
#include "trend.h"

#define BEGIN (100 * USEC_PER_SEC)
#define TOTAL GIB(2)

/* A guest that consumes 100 MiB in 100 ms. */
static struct trend falling(void)
{
    struct trend t = { 0 };

    assert_true(trend_memory(&t, BEGIN, GIB(1), TOTAL, TREND_STEADY, UINT64_MAX));
    assert_true(trend_memory(
            &t, BEGIN + 100 * USEC_PER_MSEC, GIB(1) - MIB(100), TOTAL, TREND_STEADY, UINT64_MAX));
    assert_int_equal(t.rate, MIB(1000));
    return t;
}

static void test_rate_decays_and_rises_at_once(void **state)
{
    struct trend t = falling();

    assert_true(trend_memory(
            &t, BEGIN + 500 * USEC_PER_MSEC, GIB(1) - MIB(100), TOTAL, TREND_STEADY, UINT64_MAX));
    assert_in_range(t.rate, MIB(490), MIB(510));
    assert_true(trend_memory(
            &t, BEGIN + 510 * USEC_PER_MSEC, GIB(1) - MIB(120), TOTAL, TREND_STEADY, UINT64_MAX));
    assert_int_equal(t.rate, MIB(2000));
}

/* As measured: the kernel updated free memory between two readings 0.64 ms apart. */
static void test_close_readings_give_no_rate(void **state)
{
    struct trend t = falling();
    uint64_t now = BEGIN + 100 * USEC_PER_MSEC + 640;

    assert_true(trend_memory(&t, now, GIB(1) - MIB(106), TOTAL, TREND_STEADY, UINT64_MAX));
    assert_int_equal(t.rate, MIB(1000));
    /* The fall meanwhile is not lost: the next reading counts from the last accepted one. */
    assert_true(trend_memory(
            &t, BEGIN + 120 * USEC_PER_MSEC, GIB(1) - MIB(140), TOTAL, TREND_STEADY, UINT64_MAX));
    assert_int_equal(t.rate, MIB(2000));
}

static void test_own_unplug_is_no_consumption(void **state)
{
    struct trend t = { 0 };

    assert_true(trend_memory(&t, BEGIN, GIB(1), TOTAL, TREND_STEADY, UINT64_MAX));
    assert_true(trend_memory(&t, BEGIN + USEC_PER_SEC, MIB(512), TOTAL, TREND_UNPLUGGING, UINT64_MAX));
    assert_int_equal(t.rate, 0);
}

static void test_rate_is_limited(void **state)
{
    struct trend t = { 0 };

    assert_true(trend_memory(&t, BEGIN, GIB(1), TOTAL, TREND_STEADY, MIB(2000)));
    assert_true(
            trend_memory(&t, BEGIN + 20 * USEC_PER_MSEC, GIB(1) - MIB(512), TOTAL, TREND_STEADY, MIB(2000)));
    assert_int_equal(t.rate, MIB(2000));
}

static void test_clock_going_back_resets_the_rate(void **state)
{
    struct trend t = falling();

    assert_false(trend_memory(&t, BEGIN, MIB(100), TOTAL, TREND_STEADY, UINT64_MAX));
    assert_int_equal(t.rate, 0);
    assert_true(trend_memory(&t, BEGIN + USEC_PER_SEC, MIB(100), TOTAL, TREND_STEADY, UINT64_MAX));
    assert_int_equal(t.rate, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate_decays_and_rises_at_once),
        cmocka_unit_test(test_close_readings_give_no_rate),
        cmocka_unit_test(test_own_unplug_is_no_consumption),
        cmocka_unit_test(test_rate_is_limited),
        cmocka_unit_test(test_clock_going_back_resets_the_rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
