/* SPDX-License-Identifier: MIT */
/* While memory is short, each reason to hold ends with a request within a bound. */
#include "decide-world.h"

/* An upper bound of a refusal's wait (5 s), a failed plug's (500 ms) and the step after them together. */
#define BOUND_USEC (6 * USEC_PER_SEC)

static void set_short(struct world *w)
{
    set_available(w, MIB(60));
}

static void set_refused_by_limit(struct world *w)
{
    set_short(w);
    step(w, USEC_PER_SEC);
    decide_result(&w->state, DECIDE_GROW, DECIDE_REFUSED_LIMIT, w->now);
}

static void set_refused_by_host(struct world *w)
{
    set_short(w);
    step(w, USEC_PER_SEC);
    decide_result(&w->state, DECIDE_GROW, DECIDE_REFUSED_HOST, w->now);
}

/* The driver has failed to add memory: the requested size stays above the size. */
static void set_plug_failed(struct world *w)
{
    set_size(w, MIB(512));
    set_short(w);
    w->sample.requested_size = GIB(2);
}

static void set_unplug_begun(struct world *w)
{
    set_size(w, GIB(2));
    set_short(w);
    w->sample.requested_size = GIB(1);
}

static void set_shrink_stuck(struct world *w)
{
    set_size(w, GIB(2));
    set_short(w);
    w->state.back_off_until = w->now + 600 * USEC_PER_SEC;
    w->state.back_off_size = GIB(2);
}

static void set_no_kernel_memory(struct world *w)
{
    set_short(w);
    w->sample.zones.kernel_free = 0;
    w->sample.zones.kernel_room = 0;
}

static void set_no_kernel_memory_and_failed(struct world *w)
{
    set_plug_failed(w);
    w->sample.zones.kernel_free = 0;
    w->sample.zones.kernel_room = 0;
}

static void set_held_with_plenty(struct world *w)
{
    set_available(w, MIB(800));
    w->sample.guard_armed = w->sample.guard_held = true;
}

static void set_held_and_plug_failed(struct world *w)
{
    set_size(w, GIB(2));
    set_available(w, MIB(800));
    w->sample.requested_size = GIB(3);
    w->sample.guard_armed = w->sample.guard_held = true;
}

static void set_held_while_squeezing(struct world *w)
{
    set_size(w, GIB(4));
    set_available(w, GIB(3));
    w->sample.reclaiming = true;
    w->sample.guard_armed = w->sample.guard_held = true;
}

static void set_no_pressure(struct world *w)
{
    set_short(w);
    w->sample.have_pressure = false;
    w->sample.have_vmstat = false;
    w->sample.have_zones = false;
}

static const struct {
    const char *name;
    void (*set)(struct world *w);
} states[] = {
    { "short", set_short },
    { "refused by a limit", set_refused_by_limit },
    { "refused by the host", set_refused_by_host },
    { "plug failed", set_plug_failed },
    { "unplug under way", set_unplug_begun },
    { "shrink stuck", set_shrink_stuck },
    { "no kernel memory", set_no_kernel_memory },
    { "no kernel memory, plug failed", set_no_kernel_memory_and_failed },
    { "held, plenty available", set_held_with_plenty },
    { "held, plug failed", set_held_and_plug_failed },
    { "held while cache is squeezed", set_held_while_squeezing },
    { "only meminfo is readable", set_no_pressure },
};

/* Counts the grows while none of them is carried out. */
static unsigned count_asks(struct world *w, uint64_t usec)
{
    uint64_t end = w->now + usec;
    unsigned asks = 0;

    while (w->now < end) {
        step(w, MAX_OF(w->decision.wait_usec, DECIDE_INTERVAL_MIN_USEC));
        if (w->decision.action == DECIDE_GROW) {
            assert_true(w->decision.bytes > 0);
            asks++;
        }
    }
    return asks;
}

static void test_every_state_requests_memory_while_short(void **state)
{
    for (size_t i = 0; i < ELEMENTSOF(states); i++) {
        struct world w;

        world_init(&w);
        w.sample.boot_size = GIB(1);
        step(&w, 0);
        states[i].set(&w);
        if (count_asks(&w, BOUND_USEC) == 0)
            fail_msg("%s: no request in %u s, why %s", states[i].name, (unsigned)(BOUND_USEC / USEC_PER_SEC),
                    decide_why_to_string(w.decision.why));
    }
}

/* After a failed plug the monitor asks for one block every 500 ms, not at every sample. */
static void test_failed_plug_is_requested_again_every_500_ms(void **state)
{
    struct world w;
    unsigned asks;

    world_init(&w);
    step(&w, 0);
    set_plug_failed(&w);
    asks = count_asks(&w, 5 * USEC_PER_SEC);
    assert_in_range(asks, 5, 11);
}

static void test_standing_blocks_are_requested_and_kept(void **state)
{
    struct world w;

    world_init(&w);
    w.sample.boot_size = GIB(1);
    assert_true(run_until(&w, DECIDE_GROW, USEC_PER_SEC));
    assert_int_equal(w.decision.why, DECIDE_STANDING);
    assert_int_equal(w.decision.bytes, MIB(256));
    apply(&w);
    assert_false(run_until(&w, DECIDE_SHRINK, 600 * USEC_PER_SEC));
    assert_int_equal(w.sample.size, MIB(256));
}

/* Seen: both standing blocks came online in a kernel zone, and no ratio kept user pages out of any zone. */
static void test_standing_blocks_must_be_in_movable(void **state)
{
    struct world w;

    world_init(&w);
    w.sample.boot_size = GIB(1);
    set_size(&w, MIB(256));
    w.sample.zones.movable_managed = 0;
    step(&w, USEC_PER_SEC);
    assert_int_equal(w.decision.why, DECIDE_STANDING);
    assert_int_equal(w.decision.bytes, MIB(256));
    /* The requested blocks come online and stay plugged beside the kernel's blocks. */
    set_size(&w, MIB(512));
    set_available(&w, MIB(1100));
    w.sample.zones.movable_managed = MIB(256);
    for (unsigned i = 0; i < 600; i++) {
        step(&w, USEC_PER_SEC);
        assert_int_equal(w.decision.action, DECIDE_HOLD);
    }
}

static void test_standing_blocks_that_miss_movable_are_not_requested_again(void **state)
{
    struct world w;
    unsigned asks = 0;

    world_init(&w);
    w.sample.boot_size = GIB(1);
    for (unsigned i = 0; i < 600; i++) {
        step(&w, USEC_PER_SEC);
        if (w.decision.action != DECIDE_GROW)
            continue;
        asks++;
        set_size(&w, w.sample.size + w.decision.bytes);
        /* With Onlining=keep and the policy "online", each block goes to a kernel zone. */
        w.sample.zones.movable_managed = 0;
    }
    assert_in_range(asks, 1, 2);
}

static void test_refused_standing_blocks_cost_no_wake_ups(void **state)
{
    struct world w;
    unsigned samples = 0;

    world_init(&w);
    w.sample.boot_size = GIB(1);
    assert_true(run_until(&w, DECIDE_GROW, USEC_PER_SEC));
    decide_result(&w.state, DECIDE_GROW, DECIDE_REFUSED_HOST, w.now);
    for (uint64_t end = w.now + 20 * USEC_PER_SEC; w.now < end; samples++) {
        step(&w, w.decision.wait_usec);
        assert_int_equal(w.decision.action, DECIDE_HOLD);
        assert_int_equal(w.decision.level, CHANNEL_LEVEL_NORMAL);
    }
    assert_in_range(samples, 5, 30);
    decide_room(&w.state);
    step(&w, USEC_PER_SEC);
    assert_int_equal(w.decision.why, DECIDE_STANDING);
}

static void test_requests_for_the_kernel_zones_back_off(void **state)
{
    struct world w;
    unsigned asks;

    world_init(&w);
    w.sample.boot_size = GIB(1);
    set_size(&w, GIB(1));
    set_available(&w, GIB(1));
    w.sample.zones.kernel_reserve = MIB(200);
    w.sample.zones.kernel_room = MIB(60);
    step(&w, 0);
    assert_int_equal(w.decision.action, DECIDE_GROW);
    assert_int_equal(w.decision.why, DECIDE_KERNEL_LOW);
    assert_int_equal(w.decision.bytes, MIB(128));
    /* The blocks do not reach the kernel zones, so the requests become rarer. */
    asks = count_asks(&w, 600 * USEC_PER_SEC);
    assert_in_range(asks, 2, 8);
}

static void test_unguarded_processes_are_sampled_often(void **state)
{
    struct world w;

    world_init(&w);
    w.sample.guard_armed = true;
    set_available(&w, MIB(700));
    step(&w, USEC_PER_SEC);
    step(&w, USEC_PER_SEC);
    assert_true(w.decision.wait_usec > USEC_PER_SEC);
    w.sample.unguarded = true;
    step(&w, USEC_PER_SEC);
    assert_true(w.decision.wait_usec <= 250 * USEC_PER_MSEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_state_requests_memory_while_short),
        cmocka_unit_test(test_failed_plug_is_requested_again_every_500_ms),
        cmocka_unit_test(test_standing_blocks_are_requested_and_kept),
        cmocka_unit_test(test_standing_blocks_must_be_in_movable),
        cmocka_unit_test(test_standing_blocks_that_miss_movable_are_not_requested_again),
        cmocka_unit_test(test_refused_standing_blocks_cost_no_wake_ups),
        cmocka_unit_test(test_requests_for_the_kernel_zones_back_off),
        cmocka_unit_test(test_unguarded_processes_are_sampled_often),
    };

    return cmocka_run_group_tests_name("decide-ways-out", tests, NULL, NULL);
}
