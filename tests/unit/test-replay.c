/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "replay.h"
#include "room.h"

#define HEADER "time_s,used_bytes,cached_bytes\n"

static void test_bad_files_are_refused(void **state)
{
    static const struct {
        const char *text;
        int error;
        const char *expected;
    } rows[] = {
        { "", -EBADMSG, "x:0: the file is empty" },
        { "time_s,used_bytes\n0,1\n", -EBADMSG, "x:1: column cached_bytes is missing" },
        { "time_s,used_bytes,used_bytes,cached_bytes\n", -EBADMSG, "x:1: column used_bytes is duplicate" },
        { HEADER, -EBADMSG, "0 rows" },
        { HEADER "0,1,2\n", -EBADMSG, "1 rows" },
        { HEADER "0,1,2\n0,1,2\n", -EBADMSG, "2 rows" },
        { HEADER "1,1,2\n0.5,1,2\n", -EBADMSG, "x:3: time_s 0.5 is before the last row" },
        { HEADER "-1,1,2\n", -EBADMSG, "x:2: time_s -1 is negative" },
        { HEADER "0,-1,2\n", -EBADMSG, "x:2: used_bytes -1 is negative" },
        { HEADER "0,1,18446744073709551616\n", -ERANGE, "x:2: cached_bytes 18446744073709551616 is above" },
        { HEADER "0,18446744073709551615,1\n", -ERANGE, "x:2: used_bytes" },
        { HEADER "99999999999,1,1\n", -ERANGE, "x:2: time_s" },
        { HEADER "0,1.5,1\n", -EBADMSG, "x:2: used_bytes '1.5' is not" },
        { HEADER "0,,1\n", -EBADMSG, "x:2: used_bytes '' is not" },
        { HEADER "nan,1,1\n", -EBADMSG, "x:2: time_s 'nan' is not" },
        { HEADER "0,1\n", -EBADMSG, "x:2: 2 cells" },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct trace t = { 0 };
        g_autofree char *error = NULL;

        assert_int_equal(trace_parse("x", rows[i].text, strlen(rows[i].text), &t, &error), rows[i].error);
        if (!strstr(error, rows[i].expected))
            fail_msg("expected %s, got %s", rows[i].expected, error);
        assert_null(t.rows);
    }
}

static void parse(const char *text, struct trace *ret)
{
    g_autofree char *error = NULL;

    assert_int_equal(trace_parse("x", text, strlen(text), ret, &error), 0);
}

static void test_demand_is_linear_between_rows(void **state)
{
    _cleanup_(trace_clear) struct trace t = { 0 };
    size_t cursor = 0;
    uint64_t used, cached;

    parse("cached_bytes,other,time_s,used_bytes\r\n1000,,10,0\r\n0,x,12.5,100\r\n", &t);
    assert_int_equal(trace_duration(&t), 2500 * USEC_PER_MSEC);
    trace_at(&t, &cursor, USEC_PER_SEC, &used, &cached);
    assert_int_equal(used, 40);
    assert_int_equal(cached, 600);
    trace_at(&t, &cursor, 5 * USEC_PER_SEC, &used, &cached);
    assert_int_equal(used, 100);
}

/* Writes a square wave, which is low and high for half a period each. */
static void square(GString *text, unsigned seconds, unsigned period, uint64_t low, uint64_t high)
{
    g_string_assign(text, HEADER);
    for (unsigned t = 0; t < seconds; t += period / 2) {
        uint64_t used = t / (period / 2) % 2 == 0 ? low : high;

        g_string_append_printf(text, "%u,%" G_GUINT64_FORMAT ",0\n", t, used);
        g_string_append_printf(text, "%u,%" G_GUINT64_FORMAT ",0\n", t + period / 2 - 4, used);
    }
}

static void run(const char *text, uint64_t latency, uint32_t fail, struct replay_result *ret)
{
    _cleanup_(trace_clear) struct trace t = { 0 };
    struct replay_options o = {
        .model = {
            .boot = GIB(1),
            .max = GIB(8),
            .plug_latency = latency,
            .unplug_rate = GIB(1),
            .unplug_fail = fail,
            .kernel_part = 5,
        },
        .profile = DECIDE_BALANCED,
    };

    parse(text, &t);
    replay_run(&o, &t, ret);
}

/* In an hour of a period of two settle times, each flap doubles the settle time until it spans a period. */
static void test_square_wave_does_not_flap(void **state)
{
    g_autoptr(GString) text = g_string_new(NULL);
    _cleanup_(replay_clear) struct replay_result r = { 0 };
    unsigned settle = (unsigned)(decide_profile_settle(DECIDE_BALANCED) / USEC_PER_SEC);

    square(text, 3600, 2 * settle, MIB(400), GIB(2));
    run(text->str, 100 * USEC_PER_MSEC, 0, &r);
    assert_int_equal(r.shortfall_usec, 0);
    /* The settle time doubles three times, and a period takes four steps of 512 MiB each way. */
    assert_true(r.shrinks <= 3 * 4);
    assert_true(r.grows <= 4 + 3 * 4);
}

#define STANDING MIB(256)

static void test_ramp_plugs_and_streaming_does_not(void **state)
{
    _cleanup_(replay_clear) struct replay_result ramp = { 0 }, stream = { 0 };

    run(HEADER "0,400000000,0\n60,6000000000,0\n120,400000000,0\n300,400000000,0\n", 100 * USEC_PER_MSEC, 0,
            &ramp);
    assert_int_equal(ramp.shortfall_usec, 0);
    assert_true(ramp.peak >= 6000000000);
    assert_int_equal(ramp.idle_bytes, GIB(1) + STANDING);
    /* Streaming files cause no plug beyond the standing blocks. */
    run(HEADER "0,400000000,0\n60,400000000,8000000000\n120,400000000,8000000000\n", 100 * USEC_PER_MSEC, 0,
            &stream);
    assert_int_equal(stream.peak, GIB(1) + STANDING);
}

static void test_recording_above_boot_memory_starts_plugged(void **state)
{
    _cleanup_(replay_clear) struct replay_result r = { 0 };
    const struct replay_point *first;

    run(HEADER "0,3000000000,1000000000\n60,3000000000,1000000000\n", USEC_PER_SEC, 0, &r);
    first = &g_array_index(r.points, struct replay_point, 0);
    assert_true(first->held > 3000000000 && first->held <= GIB(5));
    assert_int_equal(first->held, first->requested);
    assert_int_equal(r.grows, 0);
    assert_int_equal(r.shortfall_usec, 0);
    assert_int_equal(r.held_usec, 0);
}

/* Demand rises at 3 GB/s and the host takes 1 s: the headroom lasts for a tenth of that. */
static void test_demand_waits_at_the_line(void **state)
{
    _cleanup_(replay_clear) struct replay_result r = { 0 };
    const struct replay_point *last;

    run(HEADER "0,400000000,0\n20,400000000,0\n21,3400000000,0\n60,3400000000,0\n", USEC_PER_SEC, 0, &r);
    last = &g_array_index(r.points, struct replay_point, r.points->len - 1);
    assert_int_equal(r.shortfall_usec, 0);
    assert_true(r.held_usec >= USEC_PER_SEC / 2);
    assert_true(r.held_max > 0 && r.held_max <= r.held_usec);
    assert_int_equal(last->waiting, 0);
    assert_int_equal(last->used, 3400000000);
}

/* At the max size the guard is disarmed, so demand exceeds the memory and does not wait. */
static void test_demand_above_max_is_short(void **state)
{
    _cleanup_(replay_clear) struct replay_result r = { 0 };
    const struct replay_point *last;

    run(HEADER "0,400000000,0\n60,12000000000,0\n120,12000000000,0\n", 100 * USEC_PER_MSEC, 0, &r);
    last = &g_array_index(r.points, struct replay_point, r.points->len - 1);
    assert_true(r.shortfall_usec > 60 * USEC_PER_SEC);
    assert_true(r.shortfall_max > 12000000000 - GIB(9));
    assert_int_equal(last->waiting, 0);
}

static const struct model_options guest = {
    .boot = GIB(1),
    .max = GIB(16),
    .plug_latency = 100 * USEC_PER_MSEC,
    .unplug_rate = GIB(1),
    .kernel_part = 5,
    .reserves = true,
};

static void advance(struct model *m, uint64_t usec, uint64_t used)
{
    for (uint64_t end = m->now + usec; m->now < end;)
        model_advance(m, 10 * USEC_PER_MSEC, used, 0);
}

/* The memmap of 16 GiB is 256 MiB. */
static void test_plug_without_room_for_memmap_is_retried(void **state)
{
    struct model m;

    model_init(&m, &guest);
    m.now = USEC_PER_SEC;
    model_start(&m, MIB(400), 0);
    advance(&m, USEC_PER_SEC, MIB(780));
    model_request(&m, GIB(16));
    advance(&m, 200 * USEC_PER_MSEC, MIB(780));
    assert_int_equal(m.requested, GIB(16));
    assert_true(m.size > 0 && m.size < GIB(16));
    assert_int_equal(m.size % MODEL_MEMORY_BLOCK, 0);
    advance(&m, USEC_PER_SEC, MIB(100));
    assert_int_equal(m.size, GIB(16));
}

static void test_the_kernel_keeps_its_reserve(void **state)
{
    struct zoneinfo z;
    struct model m;

    model_init(&m, &guest);
    m.now = USEC_PER_SEC;
    model_start(&m, MIB(400), 0);
    model_request(&m, STANDING);
    advance(&m, USEC_PER_SEC, MIB(400));
    assert_int_equal(m.size, STANDING);
    assert_int_equal(m.reserve, MIN_OF(room_kernel_reserve(guest.boot, STANDING, guest.max), STANDING));
    advance(&m, USEC_PER_SEC, GIB(1));
    model_zones(&m, &z);
    assert_true(m.short_bytes > 0);
    assert_int_equal(z.user_room, 0);
    assert_int_equal(z.kernel_reserve, m.reserve);
    assert_in_range(z.kernel_room, m.reserve, m.reserve + MIB(1));
}

/* The kernel's own memory grows, and anonymous memory in the kernel zones does not make room for it. */
static void test_the_kernel_is_short_beside_anonymous_memory(void **state)
{
    struct model_options o = guest;
    struct model m;

    o.reserves = false;
    model_init(&m, &o);
    m.now = USEC_PER_SEC;
    model_start(&m, MIB(400), 0);
    advance(&m, USEC_PER_SEC, MIB(940));
    model_request(&m, GIB(1));
    advance(&m, USEC_PER_SEC, MIB(940));
    assert_int_equal(m.size, GIB(1));
    assert_int_equal(m.short_bytes, 0);
    advance(&m, USEC_PER_SEC, MIB(1500));
    assert_true(model_available(&m) > MIB(256));
    assert_true(m.short_bytes > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_files_are_refused),
        cmocka_unit_test(test_demand_is_linear_between_rows),
        cmocka_unit_test(test_square_wave_does_not_flap),
        cmocka_unit_test(test_ramp_plugs_and_streaming_does_not),
        cmocka_unit_test(test_recording_above_boot_memory_starts_plugged),
        cmocka_unit_test(test_demand_waits_at_the_line),
        cmocka_unit_test(test_demand_above_max_is_short),
        cmocka_unit_test(test_plug_without_room_for_memmap_is_retried),
        cmocka_unit_test(test_the_kernel_keeps_its_reserve),
        cmocka_unit_test(test_the_kernel_is_short_beside_anonymous_memory),
    };

    return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
