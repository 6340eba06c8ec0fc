/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "progress.h"

#define T0 (1000 * USEC_PER_SEC)

struct world {
    struct limits limits;
    struct progress progress;
};

static struct world connected(uint64_t size)
{
    return (struct world){
        .limits = { .device = true,
                .host = true,
                .size = size,
                .requested_size = size,
                .block_size = MIB(2) },
        .progress = { .signalled_size = size, .moved_at = T0 },
    };
}

static void test_states(void **state)
{
    static const struct {
        bool device;
        bool host;
        uint64_t size;
        uint64_t requested;
        uint64_t still; /* µs since the numbers moved */
        const char *name;
    } rows[] = {
        { true, true, 0, 0, 0, "idle" },
        { true, true, GIB(1), GIB(1), USEC_FOREVER / 2, "idle" },
        { true, true, 0, GIB(1), 0, "plugging" },
        { true, true, 0, GIB(1), PROGRESS_STUCK_USEC - 1, "plugging" },
        { true, true, 0, GIB(1), PROGRESS_STUCK_USEC, "stuck" },
        { true, true, GIB(1), 0, 0, "unplugging" },
        { true, true, GIB(1), 0, PROGRESS_STUCK_USEC, "stuck" },
        { true, false, 0, GIB(1), PROGRESS_STUCK_USEC, "disconnected" },
        { true, false, 0, 0, 0, "disconnected" },
        { false, true, 0, GIB(1), PROGRESS_STUCK_USEC, "no-device" },
        { false, false, 0, 0, 0, "no-device" },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct world w = connected(rows[i].size);

        w.limits.device = rows[i].device;
        w.limits.host = rows[i].host;
        w.limits.requested_size = rows[i].requested;
        assert_string_equal(
                progress_state_to_string(progress_state(&w.progress, &w.limits, T0 + rows[i].still)),
                rows[i].name);
    }
    assert_null(progress_state_to_string(_PROGRESS_STATE_MAX));
    assert_null(progress_state_to_string(_PROGRESS_STATE_INVALID));
}

/* Any news, of the size or of the requested size, begins the wait anew. */
static void test_moving_is_not_stuck(void **state)
{
    struct world w = connected(0);
    uint64_t now = T0;

    progress_take(&w.progress, &w.limits, 0, GIB(1), now);
    for (unsigned i = 1; i <= 5; i++) {
        now += PROGRESS_STUCK_USEC - 1;
        assert_int_equal(progress_state(&w.progress, &w.limits, now), PROGRESS_PLUGGING);
        progress_take(&w.progress, &w.limits, i * MIB(2), GIB(1), now);
    }
    /* The same numbers again are no progress. */
    progress_take(&w.progress, &w.limits, MIB(10), GIB(1), now + PROGRESS_STUCK_USEC);
    assert_int_equal(progress_state(&w.progress, &w.limits, now + PROGRESS_STUCK_USEC), PROGRESS_STUCK);
    progress_take(&w.progress, &w.limits, MIB(10), MIB(10), now + PROGRESS_STUCK_USEC);
    assert_int_equal(progress_state(&w.progress, &w.limits, now + PROGRESS_STUCK_USEC), PROGRESS_IDLE);
}

/* 5 s of a size that moves every 20 ms: ten signals a second, each from where the last one ended, and the
 * last one says the last size without any more news. */
static void test_signals(void **state)
{
    struct world w = connected(0);
    uint64_t now = T0, old, told = 0, signals = 0, last_at = 0;

    for (unsigned i = 1; i <= 250; i++, now += 20 * USEC_PER_MSEC) {
        progress_take(&w.progress, &w.limits, i * MIB(2), GIB(1), now);
        if (!progress_signal(&w.progress, &w.limits, now, &old))
            continue;
        assert_int_equal(old, told);
        assert_true(signals == 0 || now - last_at >= PROGRESS_SIGNAL_USEC);
        told = w.limits.size;
        last_at = now;
        signals++;
    }
    assert_int_equal(signals, 50);
    assert_true(told < MIB(500));
    now = progress_deadline(&w.progress, &w.limits, now);
    assert_int_equal(now, last_at + PROGRESS_SIGNAL_USEC);
    assert_true(progress_signal(&w.progress, &w.limits, now, &old));
    assert_int_equal(old, told);
    assert_int_equal(w.progress.signalled_size, MIB(500));
    assert_false(progress_signal(&w.progress, &w.limits, now, &old));
}

/* The first change after a pause is told at once. */
static void test_first_signal_waits_for_nothing(void **state)
{
    struct world w = connected(0);
    uint64_t old = 77;

    assert_false(progress_signal(&w.progress, &w.limits, T0, &old));
    assert_int_equal(old, 77);
    progress_take(&w.progress, &w.limits, MIB(2), MIB(2), T0);
    assert_true(progress_signal(&w.progress, &w.limits, T0, &old));
    assert_int_equal(old, 0);
}

/* The deadline: nothing while nothing is wanted, so that an idle guest sleeps; and after a signal that was
 * held back, the change is still watched. */
static void test_deadlines(void **state)
{
    struct world w = connected(0);
    uint64_t old;

    assert_int_equal(progress_deadline(&w.progress, &w.limits, T0), USEC_FOREVER);
    progress_take(&w.progress, &w.limits, 0, GIB(1), T0);
    assert_int_equal(progress_deadline(&w.progress, &w.limits, T0), T0 + PROGRESS_STUCK_USEC);
    progress_take(&w.progress, &w.limits, MIB(2), GIB(1), T0 + 1);
    assert_true(progress_signal(&w.progress, &w.limits, T0 + 1, &old));
    progress_take(&w.progress, &w.limits, MIB(4), GIB(1), T0 + 2);
    assert_int_equal(progress_deadline(&w.progress, &w.limits, T0 + 2), T0 + 1 + PROGRESS_SIGNAL_USEC);
    assert_true(progress_signal(&w.progress, &w.limits, T0 + 1 + PROGRESS_SIGNAL_USEC, &old));
    assert_int_equal(progress_deadline(&w.progress, &w.limits, T0 + 1 + PROGRESS_SIGNAL_USEC),
            T0 + 2 + PROGRESS_STUCK_USEC);
    /* Once stuck it stays so, without a timer. */
    assert_int_equal(progress_deadline(&w.progress, &w.limits, T0 + 2 + PROGRESS_STUCK_USEC), USEC_FOREVER);
    w.limits.host = false;
    assert_int_equal(progress_deadline(&w.progress, &w.limits, T0 + 3), USEC_FOREVER);
}

static void test_clock_that_goes_back(void **state)
{
    struct world w = connected(0);
    uint64_t old;

    progress_take(&w.progress, &w.limits, MIB(2), GIB(1), T0);
    assert_true(progress_signal(&w.progress, &w.limits, T0, &old));
    progress_take(&w.progress, &w.limits, MIB(4), GIB(1), T0 - USEC_PER_SEC);
    assert_true(progress_signal(&w.progress, &w.limits, T0 - USEC_PER_SEC, &old));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_moving_is_not_stuck),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_first_signal_waits_for_nothing),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_clock_that_goes_back),
    };

    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
