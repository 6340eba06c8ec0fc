/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "bytes.h"
#include "rearm.h"

#define SECOND USEC_PER_SEC
#define MS USEC_PER_MSEC

static void test_call_is_due_after_a_change(void **state)
{
    static const struct {
        const char *name;
        uint64_t headroom;
        uint64_t available;
        uint64_t total;
        uint64_t after; /* µs since the last call, which was (256 MiB, 1 GiB, 2 GiB) */
        bool due;
    } table[] = {
        { "no change", MIB(256), GIB(1), GIB(2), SECOND, false },
        { "before the guard times out", MIB(256), GIB(1), GIB(2), 2 * SECOND, true },
        { "a little less available", MIB(256), GIB(1) - MIB(63), GIB(2), SECOND, false },
        { "much less available", MIB(256), GIB(1) - MIB(64), GIB(2), SECOND, true },
        { "much more available", MIB(256), GIB(1) + MIB(64), GIB(2), SECOND, true },
        { "plugged", MIB(256), GIB(1), GIB(2) + MIB(128), SECOND, true },
        { "unplugged", MIB(256), GIB(1), GIB(2) - MIB(128), SECOND, true },
        { "another headroom", MIB(192), GIB(1), GIB(2), SECOND, true },
        { "a surge, within 500 ms", MIB(256), MIB(300), GIB(2), 499 * MS, false },
        { "a surge, after 500 ms", MIB(256), MIB(300), GIB(2), 500 * MS, true },
        { "disarm at once", 0, GIB(1), GIB(2), MS, true },
    };

    for (size_t i = 0; i < ELEMENTSOF(table); i++) {
        struct rearm r = { 0 };

        assert_true(rearm_due(&r, MIB(256), GIB(1), GIB(2), SECOND));
        if (rearm_due(&r, table[i].headroom, table[i].available, table[i].total, SECOND + table[i].after) !=
                table[i].due)
            fail_msg("%s", table[i].name);
    }
}

static void test_disarms_once(void **state)
{
    struct rearm r = { 0 };

    assert_false(rearm_due(&r, 0, GIB(1), GIB(2), SECOND));
    assert_true(rearm_due(&r, MIB(256), GIB(1), GIB(2), SECOND));
    assert_true(rearm_due(&r, 0, GIB(1), GIB(2), 2 * SECOND));
    assert_false(rearm_due(&r, 0, GIB(1), GIB(2), 60 * SECOND));
    assert_true(rearm_due(&r, MIB(256), GIB(1), GIB(2), 60 * SECOND));
}

static void test_call_is_due_after_a_reconnect_and_a_clock_step(void **state)
{
    struct rearm r = { 0 };

    assert_true(rearm_due(&r, MIB(256), GIB(1), GIB(2), 10 * SECOND));
    rearm_forget(&r);
    assert_true(rearm_due(&r, MIB(256), GIB(1), GIB(2), 10 * SECOND));
    assert_true(rearm_due(&r, MIB(256), GIB(1), GIB(2), 9 * SECOND));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call_is_due_after_a_change),
        cmocka_unit_test(test_disarms_once),
        cmocka_unit_test(test_call_is_due_after_a_reconnect_and_a_clock_step),
    };

    return cmocka_run_group_tests_name("rearm", tests, NULL, NULL);
}
