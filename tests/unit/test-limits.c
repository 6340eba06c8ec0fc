/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "actuator-limits.h"
#include "hotplug.h"
#include "names.h"

static const struct limits usual = {
    .device = true,
    .host = true,
    .size = GIB(1),
    .requested_size = GIB(1),
    .min_size = 0,
    .max_size = UINT64_MAX,
    .host_min_size = MIB(256),
    .host_max_size = GIB(8),
    .block_size = MIB(2),
};

static void test_table(void **state)
{
    static const struct {
        enum limits_verb verb;
        uint64_t bytes;
        const char *error;
        uint64_t target;
    } rows[] = {
        { LIMITS_PLUG, 0, ERROR_INVALID_SIZE, 0 },
        { LIMITS_PLUG, 1, NULL, GIB(1) + MIB(2) },
        { LIMITS_PLUG, GIB(7), NULL, GIB(8) },
        { LIMITS_PLUG, GIB(7) + 1, ERROR_LIMIT_EXCEEDED, 0 },
        { LIMITS_PLUG, UINT64_MAX, ERROR_LIMIT_EXCEEDED, 0 },
        { LIMITS_UNPLUG, 0, ERROR_INVALID_SIZE, 0 },
        { LIMITS_UNPLUG, 1, ERROR_INVALID_SIZE, 0 },
        { LIMITS_UNPLUG, MIB(3), NULL, GIB(1) - MIB(2) },
        { LIMITS_UNPLUG, MIB(768), NULL, MIB(256) },
        { LIMITS_UNPLUG, MIB(770), ERROR_BELOW_MINIMUM, 0 },
        { LIMITS_UNPLUG, UINT64_MAX, ERROR_BELOW_MINIMUM, 0 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        uint64_t target = 0;
        const char *error = NULL;
        char text[LIMITS_TEXT_MAX] = "";
        int r = limits_target(&usual, rows[i].verb, rows[i].bytes, &target, &error, text);

        assert_int_equal(r, rows[i].error ? -EINVAL : 0);
        assert_int_equal(target, rows[i].target);
        if (rows[i].error) {
            assert_string_equal(error, rows[i].error);
            assert_true(strlen(text) > 0);
        }
    }
}

static void test_set(void **state)
{
    static const struct {
        uint64_t min;
        uint64_t max;
        const char *error;
        const char *says;
        uint64_t new_min;
        uint64_t new_max;
    } rows[] = {
        { 0, 0, NULL, NULL, 0, UINT64_MAX },
        { MIB(3), GIB(3), NULL, NULL, MIB(3), GIB(3) },
        { LIMITS_KEEP, GIB(3), NULL, NULL, MIB(512), GIB(3) },
        { MIB(3), LIMITS_KEEP, NULL, NULL, MIB(3), GIB(2) },
        { LIMITS_KEEP, MIB(256), ERROR_INVALID_SIZE, "min size 512M (in force) is more than max size 256M", 0,
                0 },
        { GIB(3), LIMITS_KEEP, ERROR_INVALID_SIZE, "max size 2G (in force)", 0, 0 },
        { GIB(2), GIB(1), ERROR_INVALID_SIZE, "min size 2G is more than max size 1G", 0, 0 },
        { 0, 1000, ERROR_INVALID_SIZE, "max size 1000 is less than a block of the device (2M); 0 is", 0, 0 },
        { 0, MIB(2) - 1, ERROR_INVALID_SIZE, "2097151", 0, 0 },
        { 0, MIB(2), NULL, NULL, 0, MIB(2) },
        { 0, GIB(8) + 1, ERROR_LIMIT_EXCEEDED, "max size", 0, 0 },
        { GIB(9), 0, ERROR_LIMIT_EXCEEDED, "min size 9G is more than the host allows: 8G", 0, 0 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct limits l = usual;
        char text[LIMITS_TEXT_MAX] = "";
        const char *error = NULL;

        l.min_size = MIB(512);
        l.max_size = GIB(2);
        assert_int_equal(limits_set(&l, rows[i].min, rows[i].max, &error, text), rows[i].error ? -EINVAL : 0);
        if (rows[i].error) {
            assert_string_equal(error, rows[i].error);
            assert_non_null(strstr(text, rows[i].says));
        }
        assert_int_equal(l.min_size, rows[i].error ? MIB(512) : rows[i].new_min);
        assert_int_equal(l.max_size, rows[i].error ? GIB(2) : rows[i].new_max);
    }
}

static void test_what_is_missing(void **state)
{
    struct limits l = usual;
    uint64_t target;
    const char *error;
    char text[LIMITS_TEXT_MAX];

    l.host = false;
    assert_int_equal(limits_target(&l, LIMITS_PLUG, 1, &target, &error, text), -EINVAL);
    assert_string_equal(error, ERROR_HOST_UNAVAILABLE);
    l.device = false;
    assert_int_equal(limits_target(&l, LIMITS_PLUG, 1, &target, &error, text), -EINVAL);
    assert_string_equal(error, ERROR_NO_DEVICE);
}

/* Growth cancels a shrink: it counts from what is there, not from what was asked for. */
static void test_growth_during_a_shrink(void **state)
{
    struct limits l = usual;
    uint64_t target;
    const char *error;
    char text[LIMITS_TEXT_MAX];

    l.size = GIB(4);
    assert_int_equal(limits_target(&l, LIMITS_PLUG, MIB(2), &target, &error, text), 0);
    assert_int_equal(target, GIB(4) + MIB(2));
}

/* A shrink during a grow counts from what was asked for. */
static void test_shrink_during_a_grow(void **state)
{
    struct limits l = usual;
    uint64_t target;
    const char *error;
    char text[LIMITS_TEXT_MAX];

    l.requested_size = GIB(4);
    assert_int_equal(limits_target(&l, LIMITS_UNPLUG, GIB(1), &target, &error, text), 0);
    assert_int_equal(target, GIB(3));
}

static void test_bounds(void **state)
{
    static const struct {
        uint64_t min, max, host_min, host_max, effective_min, effective_max;
    } rows[] = {
        { 0, UINT64_MAX, 0, GIB(8), 0, GIB(8) },
        { MIB(512), GIB(4), MIB(256), GIB(8), MIB(512), GIB(4) },
        { MIB(256), GIB(8), MIB(512), GIB(4), MIB(512), GIB(4) },
        /* Blocks inwards. */
        { 1, GIB(4) + 1, 0, GIB(8), MIB(2), GIB(4) },
        /* They cross: max wins. */
        { GIB(4), UINT64_MAX, 0, GIB(1), GIB(1), GIB(1) },
        { 0, GIB(1), GIB(4), GIB(8), GIB(1), GIB(1) },
        { UINT64_MAX, UINT64_MAX, 0, GIB(8), GIB(8), GIB(8) },
        { 0, UINT64_MAX, 0, 0, 0, 0 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct limits l = usual;

        l.min_size = rows[i].min;
        l.max_size = rows[i].max;
        l.host_min_size = rows[i].host_min;
        l.host_max_size = rows[i].host_max;
        assert_int_equal(limits_effective_min(&l), rows[i].effective_min);
        assert_int_equal(limits_effective_max(&l), rows[i].effective_max);
    }
}

/* Each text names the value and the limit, exactly where the caller may have to count. */
static void test_texts(void **state)
{
    static const struct {
        enum limits_verb verb;
        uint64_t bytes;
        const char *words[3];
    } rows[] = {
        { LIMITS_PLUG, 0, { "0 bytes", "plug", "size" } },
        { LIMITS_PLUG, 8589934593, { "8589934593", "max size of 8G", "7G are left" } },
        { LIMITS_PLUG, UINT64_MAX, { "18446744073709551615", "max size of 8G", "actuator's none" } },
        { LIMITS_UNPLUG, 5, { "5 bytes", "block", "2M" } },
        { LIMITS_UNPLUG, GIB(1), { "1073741824", "min size of 256M", "768M can be unplugged" } },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        uint64_t target;
        const char *error;
        char text[LIMITS_TEXT_MAX];

        assert_int_equal(limits_target(&usual, rows[i].verb, rows[i].bytes, &target, &error, text), -EINVAL);
        for (size_t w = 0; w < ELEMENTSOF(rows[i].words); w++)
            if (!strstr(text, rows[i].words[w]))
                fail_msg("'%s' is not in '%s'", rows[i].words[w], text);
    }
}

static void test_property(void **state)
{
    uint64_t x = 4242;
    unsigned granted[_LIMITS_VERB_MAX] = { 0 };

    for (unsigned i = 0; i < 100000; i++) {
        struct limits l = usual;
        uint64_t numbers[6], target;
        const char *error;
        char text[LIMITS_TEXT_MAX];

        for (size_t n = 0; n < ELEMENTSOF(numbers); n++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            numbers[n] = x >> (x % 40);
        }
        l.size = bytes_round_down(numbers[0], MIB(2));
        l.requested_size = bytes_round_down(numbers[1], MIB(2));
        l.min_size = numbers[2];
        l.max_size = numbers[3];
        l.host_max_size = numbers[4];
        if (limits_target(&l, i % 2, numbers[5], &target, &error, text) < 0)
            continue;
        granted[i % 2]++;
        assert_int_equal(target % l.block_size, 0);
        if (i % 2 == LIMITS_PLUG)
            assert_true(target <= l.max_size && target <= l.host_max_size && target >= l.size);
        else
            assert_true(target < l.requested_size && target >= limits_effective_min(&l));
    }
    /* Not vacuous. */
    assert_true(granted[LIMITS_PLUG] > 1000 && granted[LIMITS_UNPLUG] > 1000);
}

static void test_leave(void **state)
{
    static const struct {
        uint64_t size;
        uint64_t target;
        uint64_t available;
        bool may;
    } rows[] = {
        { GIB(1), MIB(512), MIB(640), true },
        { GIB(1), MIB(512), MIB(640) - 1, false },
        { GIB(1), 0, UINT64_MAX, true },
        { GIB(1), 0, 0, false },
        /* A grow that has not come yet is taken back: nothing that is there goes. */
        { GIB(1), GIB(1), 0, true },
        { GIB(1), GIB(2), 0, true },
        /* What an earlier shrink still takes counts too. */
        { GIB(2), MIB(512), GIB(1), false },
        { UINT64_MAX, 0, UINT64_MAX, false },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct limits l = usual;
        char text[LIMITS_TEXT_MAX] = "";
        const char *error = NULL;
        int r;

        l.size = rows[i].size;
        r = limits_leave(&l, rows[i].target, rows[i].available, &error, text);
        assert_int_equal(r, rows[i].may ? 0 : -EINVAL);
        if (!rows[i].may)
            assert_string_equal(error, ERROR_BELOW_MINIMUM);
        assert_true(rows[i].may || strstr(text, "available"));
    }
}

static void test_onlining_choice(void **state)
{
    assert_int_equal(hotplug_choose(HOTPLUG_AUTO, GIB(1), GIB(3)), HOTPLUG_MOVABLE);
    assert_int_equal(hotplug_choose(HOTPLUG_AUTO, GIB(1), GIB(4)), HOTPLUG_AUTO_MOVABLE);
    assert_int_equal(hotplug_choose(HOTPLUG_AUTO, GIB(1), UINT64_MAX), HOTPLUG_AUTO_MOVABLE);
    assert_int_equal(hotplug_choose(HOTPLUG_MOVABLE, GIB(1), GIB(64)), HOTPLUG_MOVABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_what_is_missing),
        cmocka_unit_test(test_growth_during_a_shrink),
        cmocka_unit_test(test_shrink_during_a_grow),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_property),
        cmocka_unit_test(test_leave),
        cmocka_unit_test(test_onlining_choice),
    };

    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
