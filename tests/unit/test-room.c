/* SPDX-License-Identifier: MIT */
#include "room.h"
#include "unit.h"

static void test_room_is_the_smaller_of_user_and_kernel(void **state)
{
    struct zoneinfo z = { .user_room = MIB(700), .kernel_room = MIB(900) };

    assert_int_equal(room_to_grow(&z, MIB(192)), MIB(508));
    z.kernel_room = MIB(132);
    assert_int_equal(room_to_grow(&z, MIB(192)), MIB(100));
    z.kernel_room = MIB(20);
    assert_int_equal(room_to_grow(&z, MIB(192)), 0);
    z = (struct zoneinfo){ .user_room = MIB(100), .kernel_room = MIB(900) };
    assert_int_equal(room_to_grow(&z, MIB(192)), 0);
}

static void test_kernel_reserve_follows_the_size(void **state)
{
    assert_int_equal(room_kernel_reserve(GIB(1), 0, GIB(8)), MIB(64 + 128 + 36));
    assert_int_equal(room_kernel_reserve(GIB(1), GIB(8), GIB(8)), MIB(64 + 36));
    assert_int_equal(room_kernel_reserve(GIB(1), GIB(9), GIB(8)), MIB(64 + 36));
    /* The memmap of the first 8 GiB is kept ready, then that of 4 GiB more. */
    assert_int_equal(room_kernel_reserve(GIB(4), 0, GIB(60)), MIB(64 + 128 + 48));
    assert_int_equal(room_kernel_reserve(GIB(4), GIB(2), GIB(60)), MIB(64 + 96 + 48));
    assert_int_equal(room_kernel_reserve(GIB(4), GIB(28), GIB(60)), MIB(64 + 64 + 144));
    assert_int_equal(room_kernel_reserve(GIB(4), GIB(56), GIB(60)), MIB(64 + 64 + 256));
    /* A third of boot memory at most. */
    assert_int_equal(room_kernel_reserve(MIB(384), 0, GIB(64)), MIB(128));
    assert_int_equal(room_kernel_reserve(0, 0, GIB(64)), 0);
    assert_true(room_kernel_reserve(UINT64_MAX, 0, UINT64_MAX) <= UINT64_MAX / 3);
    assert_true(room_kernel_reserve(UINT64_MAX, UINT64_MAX, UINT64_MAX) <= UINT64_MAX / 3);
}

static void test_standing_size_covers_the_reserve_in_two_blocks(void **state)
{
    assert_int_equal(room_standing_size(GIB(1), GIB(8), MIB(128)), MIB(256));
    assert_int_equal(room_standing_size(GIB(2), GIB(14), MIB(128)), MIB(256));
    assert_int_equal(room_standing_size(MIB(192), GIB(8), MIB(128)), MIB(128));
    assert_int_equal(room_standing_size(GIB(128), GIB(64), GIB(2)), GIB(2));
    assert_int_equal(room_standing_size(GIB(1), GIB(8), 0), 0);
    assert_int_equal(room_standing_size(0, GIB(8), MIB(128)), 0);
}

static void test_the_kernel_is_low_under_half_of_its_reserve(void **state)
{
    struct zoneinfo z = { .kernel_room = MIB(99), .movable_managed = MIB(256) };

    assert_true(room_kernel_is_low(&z, MIB(200)));
    assert_false(room_kernel_is_low(&z, 0));
    z.kernel_file = MIB(2);
    assert_false(room_kernel_is_low(&z, MIB(200)));
    z = (struct zoneinfo){ .kernel_room = 0, .movable_managed = 0 };
    assert_false(room_kernel_is_low(&z, MIB(200)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_room_is_the_smaller_of_user_and_kernel),
        cmocka_unit_test(test_kernel_reserve_follows_the_size),
        cmocka_unit_test(test_standing_size_covers_the_reserve_in_two_blocks),
        cmocka_unit_test(test_the_kernel_is_low_under_half_of_its_reserve),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
