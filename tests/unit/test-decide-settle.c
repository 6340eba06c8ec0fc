/* SPDX-License-Identifier: MIT */
/* How long memory has to be spare before it is given back. */
#include "decide-world.h"

static void init_with_spare_memory(struct world *w, uint64_t available)
{
    world_init(w);
    set_size(w, GIB(6));
    set_available(w, available);
    step(w, 0);
}

static uint64_t time_to_shrink(struct world *w)
{
    uint64_t begin = w->now;

    assert_true(run_until(w, DECIDE_SHRINK, 120 * USEC_PER_SEC));
    return w->now - begin;
}

static void test_much_spare_memory_halves_the_time(void **state)
{
    struct world w;
    uint64_t usec, total;

    init_with_spare_memory(&w, GIB(5));
    usec = time_to_shrink(&w);
    assert_in_range(usec, 5 * USEC_PER_SEC, 8 * USEC_PER_SEC);
    total = w.sample.meminfo.total;
    /* Just above the least spare memory for a regular step. */
    init_with_spare_memory(&w, MIB(1800));
    assert_int_equal(w.sample.meminfo.total, total);
    assert_true(time_to_shrink(&w) > usec + USEC_PER_SEC);
}

static void test_time_is_at_least_half_of_the_settle_time(void **state)
{
    struct world w;

    init_with_spare_memory(&w, GIB(6));
    w.config.settle_usec = w.state.settle_usec = 40 * USEC_PER_SEC;
    assert_true(time_to_shrink(&w) >= 20 * USEC_PER_SEC);
}

/* Causes a grow usec after a shrink. */
static void shrink_then_grow(struct world *w, uint64_t usec)
{
    uint64_t end;

    init_with_spare_memory(w, GIB(2));
    time_to_shrink(w);
    apply(w);
    set_available(w, MIB(700));
    end = w->now + usec;
    while (w->now < end)
        step(w, MIN_OF(USEC_PER_SEC, end - w->now));
    set_available(w, MIB(150));
    assert_true(run_until(w, DECIDE_GROW, USEC_PER_SEC));
}

static void test_only_a_grow_soon_after_a_shrink_doubles_the_time(void **state)
{
    struct world w;

    shrink_then_grow(&w, 3 * USEC_PER_SEC);
    assert_int_equal(w.state.settle_usec, 20 * USEC_PER_SEC);
    shrink_then_grow(&w, 15 * USEC_PER_SEC);
    assert_int_equal(w.state.settle_usec, 10 * USEC_PER_SEC);
}

static void test_late_grow_halves_a_doubled_time(void **state)
{
    struct world w;

    shrink_then_grow(&w, 3 * USEC_PER_SEC);
    w.state.settle_usec = 40 * USEC_PER_SEC;
    w.state.settle_since = w.now;
    w.state.last_shrink = w.now - 50 * USEC_PER_SEC;
    apply(&w);
    set_available(&w, MIB(150));
    assert_true(run_until(&w, DECIDE_GROW, USEC_PER_SEC));
    assert_int_equal(w.state.settle_usec, 20 * USEC_PER_SEC);
    assert_int_equal(w.state.last_shrink, 0);
}

static void test_grow_after_a_small_step_does_not_double_the_time(void **state)
{
    struct world w;

    init_with_spare_memory(&w, MIB(800));
    assert_true(time_to_shrink(&w) >= 40 * USEC_PER_SEC);
    assert_true(w.state.small_step_time > 0);
    apply(&w);
    set_available(&w, MIB(150));
    assert_true(run_until(&w, DECIDE_GROW, USEC_PER_SEC));
    assert_int_equal(w.state.settle_usec, 10 * USEC_PER_SEC);
    assert_int_equal(w.state.small_step_flaps, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_much_spare_memory_halves_the_time),
        cmocka_unit_test(test_time_is_at_least_half_of_the_settle_time),
        cmocka_unit_test(test_only_a_grow_soon_after_a_shrink_doubles_the_time),
        cmocka_unit_test(test_late_grow_halves_a_doubled_time),
        cmocka_unit_test(test_grow_after_a_small_step_does_not_double_the_time),
    };

    return cmocka_run_group_tests_name("decide-settle", tests, NULL, NULL);
}
