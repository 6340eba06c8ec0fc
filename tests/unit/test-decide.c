/* SPDX-License-Identifier: MIT */
#include "decide-world.h"

/* Tasks use 4 GiB at 512 MiB/s; each plug is done 100 ms after its request. */
static void test_burst_is_never_short(void **state)
{
    struct world w;
    uint64_t available = MIB(800), lowest = UINT64_MAX, arrives = 0, bytes = 0, used = 0;

    world_init(&w);
    step(&w, 0);
    while (used < GIB(4)) {
        uint64_t wait = w.decision.wait_usec;

        for (uint64_t t = 0; t < wait; t += USEC_PER_MSEC) {
            available = sub_floor(available, MIB(512) / 1000);
            used += MIB(512) / 1000;
            lowest = MIN_OF(lowest, available);
            if (bytes > 0 && w.now + t >= arrives) {
                set_size(&w, w.sample.size + bytes);
                available += bytes;
                bytes = 0;
            }
        }
        set_available(&w, available);
        w.sample.in_flight = bytes > 0;
        step(&w, wait);
        if (w.decision.action == DECIDE_GROW) {
            bytes = w.decision.bytes;
            arrives = w.now + 100 * USEC_PER_MSEC;
        }
    }
    assert_true(lowest > MIB(64));
    assert_true(w.sample.meminfo.available < w.decision.headroom + GIB(1));
}

static void test_spare_memory_is_given_back(void **state)
{
    struct world w;
    unsigned shrinks = 0;
    uint64_t begin;

    world_init(&w);
    set_size(&w, GIB(4));
    set_available(&w, MIB(800) + GIB(4));
    step(&w, 0);
    begin = w.now;
    while (run_until(&w, DECIDE_SHRINK, 60 * USEC_PER_SEC)) {
        assert_true(w.decision.bytes <= DECIDE_SHRINK_STEP_MAX);
        assert_true(w.sample.meminfo.available - w.decision.bytes >= w.decision.headroom + w.decision.bytes);
        apply(&w);
        shrinks++;
        assert_true(shrinks < 20);
    }
    assert_int_equal(w.sample.size, 0);
    assert_true(shrinks >= 3);
    assert_true(w.now - 60 * USEC_PER_SEC - begin < 60 * USEC_PER_SEC);
}

/* As measured: after a block came online, the kernel raised its watermarks. MemAvailable fell by 92 MiB in 29
 * ms and MemFree did not change. */
static void test_a_higher_watermark_is_no_consumption(void **state)
{
    struct world w;

    world_init(&w);
    set_size(&w, GIB(2));
    set_available(&w, MIB(1009));
    step(&w, 0);
    step(&w, 100 * USEC_PER_MSEC);
    w.sample.meminfo.available = MIB(917);
    step(&w, 29 * USEC_PER_MSEC);
    assert_int_equal(w.decision.rate, 0);
    assert_int_equal(w.decision.action, DECIDE_HOLD);
    /* Only the fall of free memory counts as consumption. */
    w.sample.meminfo.available -= MIB(60);
    w.sample.meminfo.free -= MIB(10);
    step(&w, 100 * USEC_PER_MSEC);
    assert_in_range(w.decision.rate, MIB(99), MIB(101));
}

static void test_settles_before_first_shrink(void **state)
{
    struct world w;
    uint64_t begin;

    world_init(&w);
    set_size(&w, GIB(2));
    set_available(&w, GIB(2));
    step(&w, 0);
    begin = w.now;
    assert_true(run_until(&w, DECIDE_SHRINK, 60 * USEC_PER_SEC));
    assert_in_range(w.now - begin, 5 * USEC_PER_SEC, 12 * USEC_PER_SEC);
}

static void test_without_pressure_settles_longer(void **state)
{
    struct world w;
    uint64_t begin;

    world_init(&w);
    w.sample.have_pressure = w.sample.have_vmstat = false;
    set_size(&w, GIB(2));
    set_available(&w, GIB(2));
    step(&w, 0);
    begin = w.now;
    assert_true(run_until(&w, DECIDE_SHRINK, 120 * USEC_PER_SEC));
    assert_in_range(w.now - begin, 20 * USEC_PER_SEC, 45 * USEC_PER_SEC);
}

/* A grow soon after a shrink doubles the settle time; the next shrink keeps the peak of the doubled time. */
static void test_flap_doubles_settle_and_keeps_peak(void **state)
{
    struct world w;
    uint64_t begin;

    world_init(&w);
    set_size(&w, GIB(3));
    set_available(&w, GIB(2));
    step(&w, 0);
    assert_true(run_until(&w, DECIDE_SHRINK, 60 * USEC_PER_SEC));
    apply(&w);
    set_available(&w, MIB(150));
    assert_true(run_until(&w, DECIDE_GROW, USEC_PER_SEC));
    assert_int_equal(w.state.settle_usec, 20 * USEC_PER_SEC);
    apply(&w);
    begin = w.now;
    set_available(&w, GIB(2));
    assert_true(run_until(&w, DECIDE_SHRINK, 60 * USEC_PER_SEC));
    assert_in_range(w.now - begin, 10 * USEC_PER_SEC, 25 * USEC_PER_SEC);
    /* Without another flap the settle time falls back to its default. */
    while (w.now < begin + 120 * USEC_PER_SEC) {
        apply(&w);
        step(&w, USEC_PER_SEC);
    }
    assert_int_equal(w.state.settle_usec, 10 * USEC_PER_SEC);
}

static void test_stuck_shrink_backs_off_and_doubles(void **state)
{
    struct world w;
    uint64_t begin, wanted = 10 * USEC_PER_SEC;

    world_init(&w);
    set_size(&w, GIB(2));
    set_available(&w, GIB(2));
    step(&w, 0);
    for (unsigned i = 0; i < 10; i++, wanted = MIN_OF(wanted * 2, 3600 * USEC_PER_SEC)) {
        assert_true(run_until(&w, DECIDE_SHRINK, 2 * 3600 * USEC_PER_SEC));
        decide_result(&w.state, DECIDE_SHRINK, DECIDE_GRANTED, w.now);
        w.sample.requested_size = w.sample.size - w.decision.bytes;
        step(&w, USEC_PER_SEC);
        assert_int_equal(w.decision.why, DECIDE_UNPLUGGING);
        w.sample.requested_size = w.sample.size; /* the host gave up */
        step(&w, 30 * USEC_PER_SEC);
        assert_int_equal(w.decision.why, DECIDE_BACK_OFF);
        begin = w.now;
        assert_true(run_until(&w, DECIDE_SHRINK, 2 * 3600 * USEC_PER_SEC));
        assert_in_range(w.now - begin, wanted - USEC_PER_SEC, wanted + 15 * USEC_PER_SEC);
        /* Revert this decision for the next round. */
        w.state.shrinking = false;
    }
}

static void test_growth_cancels_shrink(void **state)
{
    struct world w;

    world_init(&w);
    set_size(&w, GIB(2));
    set_available(&w, GIB(2));
    step(&w, 0);
    assert_true(run_until(&w, DECIDE_SHRINK, 60 * USEC_PER_SEC));
    decide_result(&w.state, DECIDE_SHRINK, DECIDE_GRANTED, w.now);
    w.sample.requested_size = w.sample.size - w.decision.bytes;
    set_available(&w, MIB(150));
    step(&w, USEC_PER_SEC);
    assert_int_equal(w.decision.action, DECIDE_GROW);
}

static void test_refused_waits_then_asks_again(void **state)
{
    static const struct {
        enum decide_outcome outcome;
        uint64_t wait;
    } rows[] = {
        { DECIDE_REFUSED_HOST, USEC_PER_SEC },
        { DECIDE_REFUSED_RATE, 200 * USEC_PER_MSEC },
        { DECIDE_REFUSED_LIMIT, 5 * USEC_PER_SEC },
        { DECIDE_UNANSWERED, USEC_PER_SEC },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct world w;
        uint64_t begin;

        world_init(&w);
        set_available(&w, MIB(100));
        step(&w, 0);
        assert_int_equal(w.decision.action, DECIDE_GROW);
        decide_result(&w.state, DECIDE_GROW, rows[i].outcome, w.now);
        begin = w.now;
        step(&w, 20 * USEC_PER_MSEC);
        assert_int_equal(w.decision.why, DECIDE_REFUSED);
        assert_int_equal(w.decision.level, CHANNEL_LEVEL_CRITICAL);
        assert_true(run_until(&w, DECIDE_GROW, 10 * USEC_PER_SEC));
        assert_in_range(w.now - begin, rows[i].wait, rows[i].wait + 300 * USEC_PER_MSEC);
        decide_result(&w.state, DECIDE_GROW, rows[i].outcome, w.now);
        decide_room(&w.state);
        step(&w, 20 * USEC_PER_MSEC);
        assert_int_equal(w.decision.action, DECIDE_GROW);
    }
}

static void test_steps_double_to_a_bound(void **state)
{
    struct world w;
    uint64_t last = 0;

    world_init(&w);
    set_available(&w, MIB(250));
    step(&w, 0);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(w.decision.action, DECIDE_GROW);
        assert_true(w.decision.bytes >= last || w.decision.bytes >= MIB(512));
        last = w.decision.bytes;
        apply(&w);
        step(&w, 50 * USEC_PER_MSEC);
        set_available(&w, MIB(250));
        w.state.trend.last_available = MIB(250);
        w.state.trend.rate = 0;
        step(&w, 50 * USEC_PER_MSEC);
    }
    assert_in_range(last, MIB(512), MIB(640));
}

static void test_grow_never_costs_more_than_kernel_zones_have(void **state)
{
    for (uint64_t zone = MIB(5); zone < MIB(40); zone += MIB(1)) {
        struct world w;

        world_init(&w);
        set_available(&w, MIB(50));
        w.sample.zones.kernel_free = zone;
        step(&w, 0);
        assert_int_equal(w.decision.action, DECIDE_GROW);
        if (w.decision.why == DECIDE_KERNEL_ZONES)
            assert_int_equal(w.decision.bytes, w.sample.memory_block_size);
        else
            assert_true(w.decision.bytes / 64 + w.sample.zones.kernel_min <= zone);
    }
}

static void test_clock_going_back_holds(void **state)
{
    struct world w;

    world_init(&w);
    step(&w, 0);
    set_available(&w, MIB(100));
    w.now -= 50 * USEC_PER_SEC;
    step(&w, 0);
    assert_int_equal(w.decision.why, DECIDE_UNKNOWN_INPUT);
    step(&w, USEC_PER_SEC);
    assert_int_equal(w.decision.action, DECIDE_GROW);
}

static void test_round_trip_is_measured(void **state)
{
    struct world w;

    world_init(&w);
    set_available(&w, MIB(200));
    step(&w, 0);
    assert_int_equal(w.decision.round_trip, 200 * USEC_PER_MSEC);
    w.sample.in_flight = true;
    step(&w, 400 * USEC_PER_MSEC);
    assert_int_equal(w.decision.round_trip, 400 * USEC_PER_MSEC);
    w.sample.in_flight = false;
    set_size(&w, MIB(256));
    set_available(&w, MIB(700));
    step(&w, 50 * USEC_PER_MSEC);
    assert_int_equal(w.decision.round_trip, 450 * USEC_PER_MSEC);
    step(&w, 50 * USEC_PER_MSEC);
    assert_int_equal(w.decision.round_trip, 450 * USEC_PER_MSEC);
}

/* The stall of the monitor's own unplug is not the workload's, so it causes no grow. */
static void test_stall_of_own_unplug_causes_no_grow(void **state)
{
    struct world w;

    world_init(&w);
    set_size(&w, GIB(2));
    set_available(&w, GIB(1));
    step(&w, 0);
    assert_true(run_until(&w, DECIDE_SHRINK, 60 * USEC_PER_SEC));
    decide_result(&w.state, DECIDE_SHRINK, DECIDE_GRANTED, w.now);
    w.sample.requested_size -= w.decision.bytes;
    set_available(&w, MIB(350));
    w.state.trend.last_available = MIB(350);
    for (unsigned i = 0; i < 10; i++) {
        w.sample.event_early = true;
        w.sample.pressure.some.total += 30000;
        step(&w, 100 * USEC_PER_MSEC);
        assert_int_equal(w.decision.action, DECIDE_HOLD);
    }
    assert_int_equal(w.decision.pressure10, 0);
}

/* During a manual unplug MemFree falls before MemTotal, and before the new requested size is known. */
static void test_implausible_rate_is_ignored(void **state)
{
    struct world w;

    world_init(&w);
    set_size(&w, GIB(4));
    set_available(&w, GIB(3));
    (void)step(&w, 0);
    (void)step(&w, 500 * USEC_PER_MSEC);
    set_available(&w, GIB(3) - MIB(512));
    assert_int_equal(step(&w, 20 * USEC_PER_MSEC)->action, DECIDE_HOLD);
    /* A plausible rate causes a grow. */
    set_available(&w, MIB(700));
    assert_int_equal(step(&w, 500 * USEC_PER_MSEC)->action, DECIDE_GROW);
}

static void test_idle_guest_is_sampled_about_once_a_second(void **state)
{
    struct world w;
    unsigned steps = 0;
    uint64_t begin;

    world_init(&w);
    begin = w.now;
    do {
        step(&w, MAX_OF(w.decision.wait_usec, 1));
        steps++;
    } while (w.now < begin + 60 * USEC_PER_SEC);
    assert_in_range(steps, 5, 72);
}

static void test_headroom_follows_profile_and_configuration(void **state)
{
    struct decide_config c = { .profile = DECIDE_BALANCED };

    assert_int_equal(decide_headroom(&c, MIB(960)), MIB(256));
    assert_int_equal(decide_headroom(&c, GIB(16)), GIB(16) / 32);
    assert_int_equal(decide_headroom(&c, GIB(64)), MIB(768));
    c.headroom = MIB(64);
    assert_int_equal(decide_headroom(&c, GIB(8)), DECIDE_HEADROOM_MIN);
    c.headroom = GIB(3);
    assert_int_equal(decide_headroom(&c, GIB(8)), GIB(3));
}

static void test_every_value_has_a_name(void **state)
{
    for (int i = 0; i < _DECIDE_WHY_MAX; i++) {
        assert_non_null(decide_why_to_string(i));
        assert_non_null(decide_why_text(i));
    }
    for (int i = 0; i < _DECIDE_ACTION_MAX; i++)
        assert_non_null(decide_action_to_string(i));
    assert_null(decide_why_to_string(_DECIDE_WHY_MAX));
    assert_null(decide_action_to_string(_DECIDE_ACTION_INVALID));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst_is_never_short),
        cmocka_unit_test(test_spare_memory_is_given_back),
        cmocka_unit_test(test_a_higher_watermark_is_no_consumption),
        cmocka_unit_test(test_settles_before_first_shrink),
        cmocka_unit_test(test_without_pressure_settles_longer),
        cmocka_unit_test(test_flap_doubles_settle_and_keeps_peak),
        cmocka_unit_test(test_stuck_shrink_backs_off_and_doubles),
        cmocka_unit_test(test_growth_cancels_shrink),
        cmocka_unit_test(test_refused_waits_then_asks_again),
        cmocka_unit_test(test_steps_double_to_a_bound),
        cmocka_unit_test(test_grow_never_costs_more_than_kernel_zones_have),
        cmocka_unit_test(test_clock_going_back_holds),
        cmocka_unit_test(test_round_trip_is_measured),
        cmocka_unit_test(test_stall_of_own_unplug_causes_no_grow),
        cmocka_unit_test(test_implausible_rate_is_ignored),
        cmocka_unit_test(test_idle_guest_is_sampled_about_once_a_second),
        cmocka_unit_test(test_headroom_follows_profile_and_configuration),
        cmocka_unit_test(test_every_value_has_a_name),
    };

    return cmocka_run_group_tests_name("decide", tests, NULL, NULL);
}
