/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "decide.h"

/* A guest of 1 GiB boot memory with a device of 8 GiB, driven step by step. */
struct world {
    struct decide_config config;
    struct decide_state state;
    struct decide_sample sample;
    struct decision decision;
    uint64_t now;
};

static void world_init(struct world *w)
{
    *w = (struct world){
        .config = {
            .profile = DECIDE_BALANCED,
            .max_size = UINT64_MAX,
            .settle_usec = 10 * USEC_PER_SEC,
            .fastest_rate = MIB(512),
            .page_size = 4096,
        },
        .sample = {
            .have_meminfo = true,
            .meminfo = { .total = MIB(960), .free = MIB(700), .available = MIB(800) },
            .have_zones = true,
            .zones = { .kernel_free = MIB(800), .kernel_min = MIB(4), .kernel_managed = MIB(960) },
            .have_vmstat = true,
            .vmstat_fresh = true,
            .have_pressure = true,
            .pressure_fresh = true,
            .connected = true,
            .max_size = GIB(8),
            .block_size = MIB(2),
            .memory_block_size = MIB(128),
            .shrink_to = UINT64_MAX,
        },
        .now = 100 * USEC_PER_SEC,
    };
    decide_init(&w->state, &w->config);
}

static const struct decision *step(struct world *w, uint64_t after_usec)
{
    w->now += after_usec;
    decide_step(&w->config, &w->state, &w->sample, w->now, &w->decision);
    w->sample.event_early = w->sample.event_hard = false;
    return &w->decision;
}

static void set_available(struct world *w, uint64_t available)
{
    w->sample.meminfo.available = available;
    w->sample.meminfo.free = available;
    w->sample.zones.kernel_free = MIN_OF(available, MIB(800));
    w->sample.zones.movable_managed = w->sample.size;
}

static void set_size(struct world *w, uint64_t size)
{
    w->sample.size = w->sample.requested_size = size;
    w->sample.meminfo.total = MIB(960) + size;
}

/* What a host does that grants at once and a guest that plugs at once. */
static void apply(struct world *w)
{
    uint64_t bytes = w->decision.bytes;

    if (w->decision.action == DECIDE_GROW) {
        set_size(w, MAX_OF(w->sample.size, w->sample.requested_size) + bytes);
        set_available(w, w->sample.meminfo.available + bytes);
    } else if (w->decision.action == DECIDE_SHRINK) {
        set_size(w, w->sample.size - bytes);
        set_available(w, w->sample.meminfo.available - bytes);
    }
    if (w->decision.action != DECIDE_HOLD)
        decide_result(&w->state, w->decision.action, DECIDE_GRANTED, w->now);
}

/* Steps as long as the decision itself asks for, until the action comes or the time is over. */
static bool run_until(struct world *w, enum decide_action action, uint64_t usec)
{
    uint64_t end = w->now + usec;

    while (w->now < end) {
        step(w, MAX_OF(w->decision.wait_usec, DECIDE_INTERVAL_MIN_USEC));
        if (w->decision.action == action)
            return true;
        apply(w);
    }
    return false;
}

/* One situation after a first, quiet sample: what is set, what must come of it. */
struct situation {
    const char *name;
    void (*set)(struct world *w);
    enum decide_action action;
    enum decide_why why;
    enum channel_level level;
};

static void set_nothing(struct world *w)
{
}

static void set_short(struct world *w)
{
    set_available(w, MIB(200));
}

static void set_critical(struct world *w)
{
    set_available(w, MIB(100));
}

static void set_short_at_max(struct world *w)
{
    set_size(w, GIB(8));
    set_available(w, MIB(200));
}

static void set_short_own_max(struct world *w)
{
    w->config.max_size = GIB(1);
    set_size(w, GIB(1));
    set_available(w, MIB(200));
}

static void set_short_no_host(struct world *w)
{
    w->sample.connected = false;
    set_available(w, MIB(200));
}

static void set_short_in_flight(struct world *w)
{
    w->sample.in_flight = true;
    set_available(w, MIB(200));
}

static void set_short_no_blocks(struct world *w)
{
    w->sample.memory_block_size = 0;
    set_available(w, MIB(200));
}

static void set_short_kernel_zones(struct world *w)
{
    set_available(w, MIB(200));
    w->sample.zones.kernel_free = MIB(5);
}

static void set_short_kernel_zones_with_cache(struct world *w)
{
    set_available(w, MIB(200));
    w->sample.zones.kernel_free = MIB(5);
    w->sample.zones.kernel_file = MIB(100);
}

static void set_short_zones_unknown(struct world *w)
{
    w->sample.have_zones = false;
    set_available(w, MIB(200));
}

static void set_plugging_enough(struct world *w)
{
    w->sample.requested_size = MIB(512);
    set_available(w, MIB(220));
    w->state.trend.last_available = MIB(220);
}

static void set_unknown(struct world *w)
{
    w->sample.have_meminfo = false;
}

static void set_event_streaming(struct world *w)
{
    w->sample.event_early = true;
    w->sample.pressure.some.total += 20000;
}

static void set_event_unconfirmed(struct world *w)
{
    w->sample.event_early = true;
    set_available(w, MIB(380));
    w->state.trend.last_available = MIB(380);
}

static void set_event_confirmed(struct world *w)
{
    set_event_unconfirmed(w);
    w->sample.pressure.some.total += 20000;
}

static void set_event_refaults(struct world *w)
{
    w->sample.event_hard = true;
    w->sample.pressure.some.total += 500000;
    w->sample.vmstat.workingset_refault_file += 100000;
}

static void set_spare(struct world *w)
{
    set_size(w, GIB(2));
    set_available(w, GIB(2));
    w->state.trend.last_total = w->sample.meminfo.total;
}

static void set_spare_under_pressure(struct world *w)
{
    set_spare(w);
    w->sample.pressure.some.total += 1500000;
}

static void set_spare_refaults(struct world *w)
{
    set_spare(w);
    w->sample.vmstat.workingset_refault_file += 100000;
}

static void set_spare_unplugging(struct world *w)
{
    set_spare(w);
    w->sample.requested_size = GIB(1);
}

static void set_host_asks(struct world *w)
{
    set_spare(w);
    w->sample.shrink_to = GIB(1);
}

static void set_host_asks_in_use(struct world *w)
{
    set_spare(w);
    set_available(w, MIB(300));
    w->state.trend.last_available = MIB(300);
    w->state.trend.last_total = w->sample.meminfo.total;
    w->sample.shrink_to = GIB(1);
}

static void set_at_min(struct world *w)
{
    set_spare(w);
    w->sample.min_size = GIB(2);
}

static const struct situation situations[] = {
    { "idle", set_nothing, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "short", set_short, DECIDE_GROW, DECIDE_SHORT, CHANNEL_LEVEL_RISING },
    { "critical", set_critical, DECIDE_GROW, DECIDE_SHORT, CHANNEL_LEVEL_CRITICAL },
    { "short at max size", set_short_at_max, DECIDE_HOLD, DECIDE_AT_MAX, CHANNEL_LEVEL_CRITICAL },
    { "short at own max size", set_short_own_max, DECIDE_HOLD, DECIDE_AT_MAX, CHANNEL_LEVEL_CRITICAL },
    { "short without host", set_short_no_host, DECIDE_HOLD, DECIDE_NO_HOST, CHANNEL_LEVEL_RISING },
    { "short, request in flight", set_short_in_flight, DECIDE_HOLD, DECIDE_IN_FLIGHT, CHANNEL_LEVEL_RISING },
    { "memory block size unknown", set_short_no_blocks, DECIDE_HOLD, DECIDE_NO_HOST, CHANNEL_LEVEL_RISING },
    { "kernel zones used up", set_short_kernel_zones, DECIDE_HOLD, DECIDE_KERNEL_ZONES,
            CHANNEL_LEVEL_CRITICAL },
    { "kernel zones full of cache", set_short_kernel_zones_with_cache, DECIDE_GROW, DECIDE_SHORT,
            CHANNEL_LEVEL_RISING },
    { "kernel zones unknown", set_short_zones_unknown, DECIDE_GROW, DECIDE_SHORT, CHANNEL_LEVEL_RISING },
    { "plugging what will do", set_plugging_enough, DECIDE_HOLD, DECIDE_PLUGGING, CHANNEL_LEVEL_RISING },
    { "statistics unreadable", set_unknown, DECIDE_HOLD, DECIDE_UNKNOWN_INPUT, CHANNEL_LEVEL_NORMAL },
    { "event of streaming I/O", set_event_streaming, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "spurious event", set_event_unconfirmed, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "event with little available", set_event_confirmed, DECIDE_GROW, DECIDE_PRESSURE,
            CHANNEL_LEVEL_RISING },
    { "event with refaults", set_event_refaults, DECIDE_GROW, DECIDE_REFAULTS, CHANNEL_LEVEL_RISING },
    { "spare, not settled", set_spare, DECIDE_HOLD, DECIDE_SETTLING, CHANNEL_LEVEL_SETTLING },
    { "spare, pressure", set_spare_under_pressure, DECIDE_HOLD, DECIDE_UNDER_PRESSURE,
            CHANNEL_LEVEL_SETTLING },
    { "spare, refaults", set_spare_refaults, DECIDE_HOLD, DECIDE_UNDER_PRESSURE, CHANNEL_LEVEL_SETTLING },
    { "unplug under way", set_spare_unplugging, DECIDE_HOLD, DECIDE_UNPLUGGING, CHANNEL_LEVEL_SETTLING },
    { "host asks", set_host_asks, DECIDE_SHRINK, DECIDE_HOST_ASKED, CHANNEL_LEVEL_SETTLING },
    { "host asks for what is in use", set_host_asks_in_use, DECIDE_HOLD, DECIDE_HOST_ASKED,
            CHANNEL_LEVEL_NORMAL },
    { "at min size", set_at_min, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
};

static void test_situations(void **state)
{
    for (size_t i = 0; i < ELEMENTSOF(situations); i++) {
        const struct situation *s = &situations[i];
        struct world w;
        bool bounds;

        world_init(&w);
        step(&w, 0);
        s->set(&w);
        step(&w, USEC_PER_SEC);
        if (w.decision.action != s->action || w.decision.why != s->why || w.decision.level != s->level)
            fail_msg("%s: got %s %s %s, wanted %s %s %s", s->name, decide_action_to_string(w.decision.action),
                    decide_why_to_string(w.decision.why), channel_level_to_string(w.decision.level),
                    decide_action_to_string(s->action), decide_why_to_string(s->why),
                    channel_level_to_string(s->level));
        bounds = w.decision.wait_usec >= DECIDE_INTERVAL_MIN_USEC &&
                 w.decision.wait_usec <= DECIDE_INTERVAL_MAX_USEC;
        assert_true(bounds);
    }
}

/* 512 MiB/s for as long as it takes to use 4 GiB, the memory there 100 ms after it was asked for. */
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

static void test_memory_comes_back(void **state)
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
    assert_true(shrinks >= 8);
    assert_true(w.now - 60 * USEC_PER_SEC - begin < 60 * USEC_PER_SEC);
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
    assert_in_range(w.now - begin, 10 * USEC_PER_SEC, 12 * USEC_PER_SEC);
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
    assert_in_range(w.now - begin, 40 * USEC_PER_SEC, 45 * USEC_PER_SEC);
}

/* What was given back is needed again: twice the time is remembered, and no less is kept than that needs. */
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
    assert_in_range(w.now - begin, 20 * USEC_PER_SEC, 25 * USEC_PER_SEC);
    /* And it is forgotten again when nothing of the kind happens. */
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
        /* Take that decision back for the next round. */
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
        if (w.decision.action == DECIDE_GROW)
            assert_true(w.decision.bytes / 64 + w.sample.zones.kernel_min <= zone);
        else
            assert_int_equal(w.decision.why, DECIDE_KERNEL_ZONES);
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

/* Stall that came with our own unplug is not the workload's: nothing is plugged for it. */
static void test_own_unplug_raises_no_growth(void **state)
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

static void test_idle_guest_is_looked_at_about_once_a_second(void **state)
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

static void test_headroom(void **state)
{
    struct decide_config c = { .profile = DECIDE_BALANCED };

    assert_int_equal(decide_headroom(&c, MIB(960)), MIB(256));
    assert_int_equal(decide_headroom(&c, GIB(8)), GIB(8) / 24);
    assert_int_equal(decide_headroom(&c, GIB(64)), MIB(768));
    c.headroom = MIB(64);
    assert_int_equal(decide_headroom(&c, GIB(8)), DECIDE_HEADROOM_MIN);
    c.headroom = GIB(3);
    assert_int_equal(decide_headroom(&c, GIB(8)), GIB(3));
}

static void test_names(void **state)
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

/* xorshift64*: the same streams on every machine. */
static uint64_t next_random(uint64_t *x)
{
    *x ^= *x >> 12;
    *x ^= *x << 25;
    *x ^= *x >> 27;
    return *x * UINT64_C(2685821657736338717);
}

static void random_sample(struct world *w, uint64_t *x)
{
    struct decide_sample *p = &w->sample;
    uint64_t r = next_random(x);

    p->have_meminfo = r % 50 != 0;
    p->have_zones = r / 50 % 20 != 0;
    p->have_pressure = r / 1000 % 20 != 0;
    p->have_vmstat = r / 20000 % 20 != 0;
    p->connected = r / 400000 % 20 != 0;
    p->in_flight = r / 8000000 % 10 == 0;
    p->event_early = (r >> 40) % 4 == 0;
    p->event_hard = (r >> 42) % 8 == 0;
    p->size = MIN_OF(p->requested_size, p->max_size);
    if ((r >> 45) % 8 == 0)
        p->requested_size = bytes_round_down(next_random(x) % (p->max_size + 1), MIB(2));
    p->min_size = (r >> 48) % 16 == 0 ? MIB(512) : 0;
    p->shrink_to = (r >> 52) % 16 == 0 ? next_random(x) % GIB(8) : UINT64_MAX;
    p->meminfo.total = MIB(960) + p->size;
    set_available(w, next_random(x) % (p->meminfo.total + 1));
    p->zones.kernel_free = next_random(x) % MIB(900);
    p->pressure.some.total += next_random(x) % 200000;
    p->vmstat.workingset_refault_file += next_random(x) % 4000;
}

static void check_invariants(const struct world *w)
{
    const struct decide_sample *p = &w->sample;
    const struct decision *d = &w->decision;
    uint64_t base = MAX_OF(p->size, p->requested_size);

    assert_in_range(d->wait_usec, DECIDE_INTERVAL_MIN_USEC, DECIDE_INTERVAL_MAX_USEC);
    assert_in_range(d->level, 0, _CHANNEL_LEVEL_MAX - 1);
    if (d->action == DECIDE_HOLD) {
        assert_int_equal(d->bytes, 0);
        return;
    }
    assert_true(d->bytes > 0 && d->bytes % p->block_size == 0);
    assert_true(p->have_meminfo && p->connected && !p->in_flight);
    if (d->action == DECIDE_GROW)
        assert_true(base + d->bytes <= p->max_size);
    else {
        assert_true(p->size - d->bytes >= p->min_size && d->bytes <= p->size);
        assert_true(d->bytes <= DECIDE_SHRINK_STEP_MAX);
        assert_true(p->meminfo.available >= d->headroom + 2 * d->bytes);
    }
}

static void check_short_grows(const struct world *w)
{
    const struct decide_sample *p = &w->sample;
    const struct decision *d = &w->decision;
    uint64_t pending = sub_floor(p->requested_size, p->size);

    if (!p->have_meminfo || d->why == DECIDE_UNKNOWN_INPUT || !p->connected || p->in_flight)
        return;
    if (p->meminfo.available + pending >= d->headroom || d->action == DECIDE_GROW)
        return;
    assert_true(d->why == DECIDE_AT_MAX || d->why == DECIDE_KERNEL_ZONES || d->why == DECIDE_REFUSED ||
                d->why == DECIDE_PLUGGING);
}

static void test_invariants_on_random_streams(void **state)
{
    uint64_t x = 88172645463325252u;

    for (unsigned stream = 0; stream < 1000; stream++) {
        struct world w;

        world_init(&w);
        for (unsigned i = 0; i < 100; i++) {
            random_sample(&w, &x);
            step(&w, next_random(&x) % (2 * USEC_PER_SEC));
            check_invariants(&w);
            check_short_grows(&w);
            if (w.decision.action != DECIDE_HOLD) {
                enum decide_outcome outcome = next_random(&x) % _DECIDE_OUTCOME_MAX;

                decide_result(&w.state, w.decision.action, outcome, w.now);
                if (outcome == DECIDE_GRANTED)
                    w.sample.requested_size =
                            w.decision.action == DECIDE_GROW
                                    ? MAX_OF(w.sample.size, w.sample.requested_size) + w.decision.bytes
                                    : w.sample.size - w.decision.bytes;
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_situations),
        cmocka_unit_test(test_burst_is_never_short),
        cmocka_unit_test(test_memory_comes_back),
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
        cmocka_unit_test(test_own_unplug_raises_no_growth),
        cmocka_unit_test(test_idle_guest_is_looked_at_about_once_a_second),
        cmocka_unit_test(test_headroom),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_invariants_on_random_streams),
    };

    return cmocka_run_group_tests_name("decide", tests, NULL, NULL);
}
