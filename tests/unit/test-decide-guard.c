/* SPDX-License-Identifier: MIT */
/* The headroom that the decision arms the guard with, and the grows while tasks wait at a line. */
#include "decide-world.h"

static void test_guard_stays_armed_until_the_last_plug_is_done(void **state)
{
    struct world w;

    world_init(&w);
    set_size(&w, GIB(7));
    w.sample.requested_size = w.sample.max_size;
    step(&w, 0);
    assert_true(w.decision.guard_headroom > 0);
    set_size(&w, w.sample.max_size);
    step(&w, 100 * USEC_PER_MSEC);
    assert_int_equal(w.decision.guard_headroom, 0);
}

/* A burst of 1 GiB/s with a round trip of two seconds. */
static void burst_to_line(struct world *w)
{
    world_init(w);
    w->config.fastest_rate = GIB(4);
    set_size(w, GIB(4));
    set_available(w, GIB(2));
    step(w, 0);
    for (unsigned i = 0; i < ELEMENTSOF(w->state.round_trips); i++)
        w->state.round_trips[i] = 2 * USEC_PER_SEC;
    set_available(w, GIB(2) - MIB(512));
    w->sample.in_flight = true;
    step(w, 500 * USEC_PER_MSEC);
}

static void test_burst_does_not_move_the_line(void **state)
{
    struct world w;

    burst_to_line(&w);
    assert_true(w.decision.headroom > decide_headroom(&w.config, w.sample.meminfo.total));
    assert_int_equal(w.decision.guard_headroom, decide_headroom(&w.config, w.sample.meminfo.total) / 4 * 3);
}

/* Held tasks consume nothing and the measured rate decays, but the pending memory must still cover them. */
static void test_held_burst_requests_more_than_is_pending(void **state)
{
    struct world w;

    burst_to_line(&w);
    w.sample.in_flight = false;
    w.sample.requested_size = w.sample.size + MIB(256);
    w.sample.guard_armed = w.sample.guard_held = true;
    set_available(&w, MIB(600));
    w.state.trend.rate = 0;
    w.state.trend.last_available = MIB(600);
    step(&w, 100 * USEC_PER_MSEC);
    assert_int_equal(w.decision.action, DECIDE_GROW);
    assert_true(w.decision.bytes >= GIB(1) + MIB(512));
}

static void test_end_of_a_hold_ends_its_growth(void **state)
{
    struct world w;

    burst_to_line(&w);
    w.sample.in_flight = false;
    w.sample.guard_armed = w.sample.guard_held = true;
    step(&w, 100 * USEC_PER_MSEC);
    assert_int_equal(w.decision.action, DECIDE_GROW);
    apply(&w);
    w.sample.guard_held = false;
    set_available(&w, GIB(3));
    w.state.trend.rate = 0;
    w.state.trend.last_available = GIB(3);
    step(&w, 400 * USEC_PER_MSEC);
    assert_int_equal(w.decision.action, DECIDE_HOLD);
    assert_true(w.decision.projected > GIB(2));
}

/* The memory of the first grow is plugged while the second grow waits for its own. */
static void test_round_trip_ends_with_its_own_memory(void **state)
{
    struct world w;

    world_init(&w);
    set_size(&w, GIB(1));
    w.sample.requested_size = GIB(1) + MIB(128);
    set_available(&w, MIB(100));
    step(&w, 0);
    assert_int_equal(w.decision.action, DECIDE_GROW);
    w.sample.requested_size += w.decision.bytes;
    w.sample.size += MIB(128);
    w.sample.meminfo.total += MIB(128);
    set_available(&w, MIB(228));
    step(&w, 20 * USEC_PER_MSEC);
    assert_true(w.state.grow_asked > 0);
    set_size(&w, w.sample.requested_size);
    set_available(&w, GIB(1));
    step(&w, 480 * USEC_PER_MSEC);
    assert_int_equal(w.state.grow_asked, 0);
    assert_int_equal(w.decision.round_trip, 500 * USEC_PER_MSEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guard_stays_armed_until_the_last_plug_is_done),
        cmocka_unit_test(test_burst_does_not_move_the_line),
        cmocka_unit_test(test_held_burst_requests_more_than_is_pending),
        cmocka_unit_test(test_end_of_a_hold_ends_its_growth),
        cmocka_unit_test(test_round_trip_ends_with_its_own_memory),
    };

    return cmocka_run_group_tests_name("decide-guard", tests, NULL, NULL);
}
