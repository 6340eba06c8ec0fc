/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "low-memory.h"

#define SECOND USEC_PER_SEC
#define NORMAL CHANNEL_LEVEL_NORMAL
#define RISING CHANNEL_LEVEL_RISING
#define CRITICAL CHANNEL_LEVEL_CRITICAL
#define SETTLING CHANNEL_LEVEL_SETTLING
/* Of a headroom of 256 MiB. */
#define HEADROOM MIB(256)

static struct decision decision(
        enum decide_why why, enum channel_level level, uint64_t available, uint64_t projected)
{
    return (struct decision){
        .why = why,
        .level = level,
        .available = available,
        .projected = projected,
        .headroom = HEADROOM,
    };
}

static void test_level_follows_available_memory(void **state)
{
    static const struct {
        const char *name;
        enum decide_why why;
        enum decide_outcome refused;
        enum channel_level level;
        uint64_t available;
        uint64_t projected;
        enum low_memory_level wanted;
    } table[] = {
        { "normal", DECIDE_ENOUGH, DECIDE_GRANTED, NORMAL, GIB(1), GIB(1), LOW_MEMORY_NONE },
        { "no host, but enough", DECIDE_NO_HOST, DECIDE_GRANTED, NORMAL, GIB(1), GIB(1), LOW_MEMORY_NONE },
        { "just enough", DECIDE_NO_HOST, DECIDE_GRANTED, RISING, HEADROOM, HEADROOM, LOW_MEMORY_NONE },
        { "no host", DECIDE_NO_HOST, DECIDE_GRANTED, RISING, HEADROOM - 1, HEADROOM, LOW_MEMORY_LOW },
        { "at max", DECIDE_AT_MAX, DECIDE_GRANTED, CRITICAL, MIB(200), MIB(200), LOW_MEMORY_LOW },
        { "at max, projected short", DECIDE_AT_MAX, DECIDE_GRANTED, RISING, MIB(300), MIB(255),
                LOW_MEMORY_LOW },
        { "at max, a pressure event with enough", DECIDE_AT_MAX, DECIDE_GRANTED, RISING, MIB(300), MIB(300),
                LOW_MEMORY_NONE },
        { "half of the headroom left", DECIDE_AT_MAX, DECIDE_GRANTED, CRITICAL, MIB(128), 0, LOW_MEMORY_LOW },
        { "less than half", DECIDE_AT_MAX, DECIDE_GRANTED, CRITICAL, MIB(128) - 1, 0, LOW_MEMORY_MEDIUM },
        { "a quarter of the headroom left", DECIDE_REFUSED, DECIDE_REFUSED_HOST, CRITICAL, MIB(64), 0,
                LOW_MEMORY_MEDIUM },
        { "less than a quarter", DECIDE_REFUSED, DECIDE_REFUSED_HOST, CRITICAL, MIB(64) - 1, 0,
                LOW_MEMORY_CRITICAL },
        { "nothing left", DECIDE_NO_HOST, DECIDE_GRANTED, CRITICAL, 0, 0, LOW_MEMORY_CRITICAL },
        { "refused by a limit", DECIDE_REFUSED, DECIDE_REFUSED_LIMIT, CRITICAL, MIB(100), 0,
                LOW_MEMORY_MEDIUM },
        { "no answer", DECIDE_REFUSED, DECIDE_UNANSWERED, CRITICAL, MIB(100), 0, LOW_MEMORY_MEDIUM },
        { "refused by the rate limit", DECIDE_REFUSED, DECIDE_REFUSED_RATE, CRITICAL, MIB(100), 0,
                LOW_MEMORY_NONE },
        { "no memory for a memmap", DECIDE_KERNEL_ZONES, DECIDE_GRANTED, CRITICAL, MIB(100), 0,
                LOW_MEMORY_MEDIUM },
        { "request due now", DECIDE_SHORT, DECIDE_REFUSED_HOST, CRITICAL, MIB(10), 0, LOW_MEMORY_NONE },
        { "request in flight", DECIDE_IN_FLIGHT, DECIDE_REFUSED_HOST, CRITICAL, MIB(10), 0, LOW_MEMORY_NONE },
        { "plugging", DECIDE_PLUGGING, DECIDE_GRANTED, CRITICAL, MIB(10), 0, LOW_MEMORY_NONE },
        { "spare memory", DECIDE_SETTLING, DECIDE_REFUSED_HOST, SETTLING, GIB(1), GIB(1), LOW_MEMORY_NONE },
        { "input unknown", DECIDE_UNKNOWN_INPUT, DECIDE_REFUSED_HOST, CRITICAL, 0, 0, LOW_MEMORY_NONE },
    };

    for (size_t i = 0; i < ELEMENTSOF(table); i++) {
        struct decision d = decision(table[i].why, table[i].level, table[i].available, table[i].projected);

        if (low_memory_level(&d, table[i].refused) != table[i].wanted)
            fail_msg("%s: got %d, expected %d", table[i].name, low_memory_level(&d, table[i].refused),
                    table[i].wanted);
    }
}

/* With less available memory the level never falls, for any reason of the decision. */
static void test_level_never_falls_with_less_memory(void **state)
{
    for (enum decide_why why = 0; why < _DECIDE_WHY_MAX; why++) {
        enum low_memory_level last = LOW_MEMORY_NONE;

        for (uint64_t available = 2 * HEADROOM; available > 0; available -= MIB(1)) {
            struct decision d = decision(why, CRITICAL, available, available);
            enum low_memory_level level = low_memory_level(&d, DECIDE_REFUSED_HOST);

            assert_true(level >= last);
            last = level;
        }
        assert_true(last == LOW_MEMORY_NONE || last == LOW_MEMORY_CRITICAL);
    }
}

static void test_warnings_keep_the_interval(void **state)
{
    static const struct {
        uint64_t at; /* ms */
        uint64_t available;
        enum low_memory_level wanted;
    } steps[] = {
        { 1000, GIB(1), LOW_MEMORY_NONE }, { 2000, MIB(200), LOW_MEMORY_LOW },
        { 2020, MIB(200), LOW_MEMORY_NONE },
        { 3000, MIB(100), LOW_MEMORY_MEDIUM },   /* the level rose: at once */
        { 3020, MIB(10), LOW_MEMORY_CRITICAL },  /* rose again */
        { 4000, MIB(200), LOW_MEMORY_NONE },     /* a lower level waits for the interval */
        { 5000, GIB(1), LOW_MEMORY_NONE },       /* no longer short */
        { 6000, MIB(10), LOW_MEMORY_NONE },      /* critical again, still within the interval */
        { 18019, MIB(10), LOW_MEMORY_NONE },     /* 1 ms less than 15 s since the last warning */
        { 18020, MIB(10), LOW_MEMORY_CRITICAL }, /* 15 s have passed */
        { 33019, MIB(200), LOW_MEMORY_NONE }, { 33020, MIB(200), LOW_MEMORY_LOW },
        { 33040, MIB(100), LOW_MEMORY_MEDIUM }, { 99000, GIB(1), LOW_MEMORY_NONE },
        { 100000, MIB(200), LOW_MEMORY_LOW },
        { 99999, MIB(200), LOW_MEMORY_LOW }, /* the clock went back: warn rather than stay silent */
    };
    struct low_memory s = { 0 };

    for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
        struct decision d = decision(DECIDE_AT_MAX, CRITICAL, steps[i].available, steps[i].available);

        if (low_memory_step(&s, &d, DECIDE_GRANTED, steps[i].at * USEC_PER_MSEC) != steps[i].wanted)
            fail_msg("step %zu", i);
    }
}

/* However memory changes, each 15 s have at most one warning per level and at least one in total. */
static void test_number_of_warnings_is_bounded(void **state)
{
    struct low_memory s = { 0 };
    uint64_t seed = 42, warnings = 0, end = 1000 * SECOND;

    for (uint64_t now = 20 * USEC_PER_MSEC; now < end; now += 20 * USEC_PER_MSEC) {
        struct decision d;

        seed = seed * 6364136223846793005u + 1442695040888963407u;
        d = decision(DECIDE_AT_MAX, CRITICAL, (seed >> 33) % MIB(300), 0);
        warnings += low_memory_step(&s, &d, DECIDE_GRANTED, now) != LOW_MEMORY_NONE;
    }
    assert_in_range(warnings, end / LOW_MEMORY_REPEAT_USEC, 3 * (end / LOW_MEMORY_REPEAT_USEC + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_level_follows_available_memory),
        cmocka_unit_test(test_level_never_falls_with_less_memory),
        cmocka_unit_test(test_warnings_keep_the_interval),
        cmocka_unit_test(test_number_of_warnings_is_bounded),
    };

    return cmocka_run_group_tests_name("low-memory", tests, NULL, NULL);
}
