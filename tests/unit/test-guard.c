/* SPDX-License-Identifier: MIT */
/* Where the guard's lines stand, and when it may be armed. */
#include "unit.h"

#include <glib.h>

#include "guard-cgroup.h"
#include "guard-switch.h"
#include "guard.h"

/* 1 GiB of boot memory, two slices that use little. */
static struct guard_sample small_guest(void)
{
    return (struct guard_sample){
        .total = GIB(1),
        .free = MIB(800),
        .available = MIB(750),
        .have_zones = true,
        .zones = { .user_room = MIB(796), .kernel_room = MIB(797), .kernel_file = MIB(20) },
        .cpus = 2,
        .n = 2,
        .cgroups = {
            { .usage = MIB(50), .line = GUARD_NO_LINE, .limit = GUARD_NO_LINE },
            { .usage = MIB(50), .line = GUARD_NO_LINE, .limit = GUARD_NO_LINE },
        },
    };
}

static void test_headroom(void **state)
{
    static const struct {
        uint64_t asked;
        uint64_t total;
        uint32_t cpus;
        uint64_t headroom;
    } rows[] = {
        { 0, GIB(1), 2, MIB(192) },
        { MIB(64), GIB(1), 1, MIB(192) },
        { MIB(300), GIB(1), 2, MIB(300) },
        { 0, GIB(64), 64, MIB(256) },
        { MIB(384), GIB(8), 16, MIB(512) },
        { MIB(768), GIB(16), 2, MIB(768) },
        { GIB(2), GIB(64), 2, GIB(2) },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        assert_int_equal(guard_headroom(rows[i].asked, rows[i].total, rows[i].cpus), rows[i].headroom);
    /* Measured overrun with 32 threads: 73 MB past a 300 MB line, 348 MB past one of 3,000 MB. */
    assert_true(guard_headroom(MIB(384), MIB(3000), 32) > MIB(348));
    for (uint32_t cpus = 1; cpus < 40; cpus++)
        assert_true(guard_headroom(MIB(384), GIB(8), cpus) <= guard_headroom(MIB(384), GIB(8), cpus + 1));
}

/* Sets what is free, all of it in the kernel zones. */
static void set_free(struct guard_sample *s, uint64_t bytes)
{
    s->free = bytes;
    s->zones.user_room = sub_floor(bytes, MIB(4));
    s->zones.kernel_room = sub_floor(bytes, MIB(3));
}

static void test_quiet_cgroups_share_the_room(void **state)
{
    struct guard_sample s = small_guest();
    struct guard_plan p;

    guard_plan(&s, &p);
    assert_int_equal(p.mode, GUARD_OPEN);
    assert_int_equal(p.grow, MIB(796 - 192));
    assert_int_equal(p.look_usec, USEC_FOREVER);
    assert_true(p.write[0] && p.write[1]);
    assert_int_equal(p.lines[0], p.lines[1]);
    assert_int_equal(p.lines[0], MIB(50 + 604 / 2 + 8));
    /* A cgroup that uses more gets more. */
    s.cgroups[0].usage = MIB(500);
    guard_plan(&s, &p);
    assert_true(p.lines[0] - MIB(500) > 2 * (p.lines[1] - MIB(50)));
    assert_false(p.any_held);
}

static void test_the_room_goes_to_the_cgroup_that_grows(void **state)
{
    struct guard_sample s = small_guest();
    struct guard_plan p;

    s.cgroups[1].breached = true;
    guard_plan(&s, &p);
    assert_int_equal(p.lines[1], MIB(50 + 604 - 64));
    assert_int_equal(p.lines[0], MIB(50 + 64));
    assert_true(p.look_usec <= GUARD_LOOK_MAX_USEC);
    /* Growth counts before a line is crossed. */
    s.cgroups[1].breached = false;
    s.cgroups[1].grown = MIB(20);
    guard_plan(&s, &p);
    assert_int_equal(p.lines[1], MIB(50 + 604 - 64));
    /* Two that grow share it. */
    s.cgroups[0].breached = true;
    guard_plan(&s, &p);
    assert_int_equal(p.lines[0], MIB(50 + 302));
    assert_int_equal(p.lines[1], MIB(50 + 302));
}

/* A cgroup that was just made, or is empty, gets 64 MiB and no share. */
static void test_an_empty_cgroup_gets_the_smallest_line(void **state)
{
    struct guard_sample s = small_guest();
    struct guard_plan p;

    s.n = 3;
    s.cgroups[2] = (struct guard_cgroup_sample){ .line = GUARD_NO_LINE, .limit = GUARD_NO_LINE };
    guard_plan(&s, &p);
    assert_int_equal(p.lines[2], MIB(64));
    assert_int_equal(p.lines[0], MIB(50 + 604 / 2 + 8));
}

/* The hog has taken all but the headroom: the lines stay, whatever it has overrun them by. */
static void test_holds(void **state)
{
    struct guard_sample s = small_guest();
    struct guard_plan p;

    set_free(&s, MIB(180));
    s.available = MIB(130);
    s.cgroups[0] = (struct guard_cgroup_sample){
        .usage = MIB(660), .line = MIB(640), .limit = GUARD_NO_LINE, .breached = true
    };
    s.cgroups[1].line = MIB(90);
    guard_plan(&s, &p);
    assert_int_equal(p.mode, GUARD_HOLDING);
    assert_true(p.held[0] && p.any_held && !p.held[1]);
    assert_false(p.write[0]);
    assert_int_equal(p.lines[1], MIB(58));
    /* A cgroup at an administrator's own limit does not count as held. */
    s.cgroups[0].limit = MIB(640);
    guard_plan(&s, &p);
    assert_false(p.any_held);
    s.cgroups[0].limit = GUARD_NO_LINE;
    /* Memory comes: the line goes up at once, for those who wait. */
    set_free(&s, MIB(180 + 512));
    s.available += MIB(512);
    s.total += MIB(512);
    guard_plan(&s, &p);
    assert_int_equal(p.mode, GUARD_OPEN);
    assert_true(p.write[0] && p.lines[0] > MIB(660 + 350));
    assert_false(p.any_held);
}

/* What is being unplugged is free, and is not given away. */
static void test_memory_that_leaves_is_no_room(void **state)
{
    struct guard_sample s = small_guest();
    struct guard_plan p;

    s.leaving = MIB(256);
    s.cgroups[0].breached = true;
    guard_plan(&s, &p);
    assert_int_equal(p.grow, MIB(796 - 192 - 256));
    assert_int_equal(p.headroom, MIB(192));
    s.leaving = GIB(8);
    guard_plan(&s, &p);
    assert_int_equal(p.grow, 0);
}

/* A full cache and little available: the cache makes room for the headroom, a 20th of the slice at a time. */
static void test_cache_makes_room(void **state)
{
    struct guard_sample s = small_guest();
    struct guard_plan p;

    set_free(&s, MIB(60));
    s.available = MIB(280);
    s.cgroups[0] = (struct guard_cgroup_sample){
        .usage = MIB(700), .clean = MIB(250), .line = MIB(900), .limit = GUARD_NO_LINE, .breached = true
    };
    guard_plan(&s, &p);
    assert_int_equal(p.mode, GUARD_HOLDING);
    assert_int_equal(p.lines[0], MIB(700 - 35));
    assert_true(p.write[0]);
    /* Without clean cache there is nothing to be had by a line below the usage. */
    s.cgroups[0].clean = 0;
    guard_plan(&s, &p);
    assert_int_equal(p.lines[0], MIB(700));
}

/* A stream fills what is free with cache: it gets room, and somebody looks on. */
static void test_stream(void **state)
{
    struct guard_sample s = small_guest();
    struct guard_plan p;

    set_free(&s, MIB(200));
    s.zones.kernel_file = MIB(1200);
    s.available = MIB(740);
    s.cgroups[0] = (struct guard_cgroup_sample){
        .usage = MIB(640), .clean = MIB(580), .line = MIB(640), .limit = GUARD_NO_LINE, .breached = true
    };
    guard_plan(&s, &p);
    assert_int_equal(p.mode, GUARD_LIFTED);
    assert_int_equal(p.grow, MIB(740 - 192));
    assert_true(p.write[0] && p.lines[0] > MIB(640 + 400));
    assert_true(p.look_usec >= GUARD_LOOK_MIN_USEC && p.look_usec <= GUARD_LOOK_MAX_USEC);
    /* When it is over the lines come down again, above what is used. */
    s.cgroups[0].line = p.lines[0];
    s.cgroups[0].breached = false;
    set_free(&s, MIB(40));
    guard_plan(&s, &p);
    assert_int_equal(p.lines[0], MIB(648));
    assert_true(p.write[0]);
}

/* Movable memory without end, and little left for page tables, which are charged as user pages are. */
static void test_kernel_zones_bound_the_room(void **state)
{
    struct guard_sample s = small_guest();
    struct guard_plan p;

    s.total = GIB(4);
    s.free = s.available = s.zones.user_room = GIB(3);
    s.zones.kernel_room = MIB(192);
    s.zones.kernel_file = 0;
    s.cgroups[0].breached = true;
    guard_plan(&s, &p);
    assert_int_equal(p.grow, MIB(160));
    assert_int_equal(p.mode, GUARD_OPEN);
    s.zones.kernel_room = MIB(30);
    s.cgroups[0].line = s.cgroups[1].line = MIB(60);
    guard_plan(&s, &p);
    assert_int_equal(p.mode, GUARD_HOLDING);
    assert_int_equal(p.grow, 0);
    assert_true(p.lines[0] <= MIB(50) && p.held[0]);
    s.have_zones = false;
    guard_plan(&s, &p);
    assert_true(p.grow > GIB(2));
}

static void test_small_moves_are_not_written(void **state)
{
    struct guard_sample s = small_guest();
    struct guard_plan p;

    guard_plan(&s, &p);
    for (size_t i = 0; i < s.n; i++)
        s.cgroups[i].line = p.lines[i];
    guard_plan(&s, &p);
    assert_false(p.write[0] || p.write[1]);
    set_free(&s, MIB(804));
    guard_plan(&s, &p);
    assert_false(p.write[0] || p.write[1]);
    set_free(&s, MIB(784));
    guard_plan(&s, &p);
    assert_false(p.write[0] || p.write[1]);
    set_free(&s, MIB(824));
    guard_plan(&s, &p);
    assert_true(p.write[0] && p.write[1]);
}

/* The smallest line, for which nothing is promised. */
#define LINE_FLOOR MIB(66)

/* Whatever the numbers: never above the administrator's, never far below what is used, never more promised
 * than there is. */
static void test_invariants(void **state)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);

    for (unsigned round = 0; round < 100000; round++) {
        struct guard_sample s = { .cpus = (uint32_t)g_rand_int_range(rand, 1, 65), .have_zones = true };
        struct guard_plan p;
        uint64_t grown = 0;

        s.n = (size_t)g_rand_int_range(rand, 1, GUARD_CGROUPS_MAX + 1);
        s.total = MIB(g_rand_int_range(rand, 256, 100000));
        s.free = s.total / 1000 * (uint64_t)g_rand_int_range(rand, 0, 1000);
        s.available = s.total / 1000 * (uint64_t)g_rand_int_range(rand, 0, 1000);
        s.zones.user_room = MIN_OF(s.free, MIB(g_rand_int_range(rand, 0, 100000)));
        s.zones.kernel_room = MIB(g_rand_int_range(rand, 0, 1000));
        s.zones.kernel_file = MIB(g_rand_int_range(rand, 0, 500));
        for (size_t i = 0; i < s.n; i++) {
            struct guard_cgroup_sample *cgroup = &s.cgroups[i];

            cgroup->usage = KIB(g_rand_int(rand) % (s.total / KIB(1)));
            cgroup->clean = cgroup->usage / 100 * (uint64_t)g_rand_int_range(rand, 0, 100);
            cgroup->limit = g_rand_boolean(rand) ? GUARD_NO_LINE : KIB(g_rand_int(rand));
            cgroup->line =
                    g_rand_boolean(rand) ? cgroup->limit : MIN_OF(KIB(g_rand_int(rand)), cgroup->limit);
            cgroup->breached = g_rand_boolean(rand);
        }
        guard_plan(&s, &p);
        assert_true(p.headroom >= GUARD_HEADROOM_MIN && p.headroom <= MIB(256));
        for (size_t i = 0; i < s.n; i++) {
            const struct guard_cgroup_sample *cgroup = &s.cgroups[i];
            uint64_t lowest = cgroup->usage - cgroup->usage / 20;

            assert_true(p.lines[i] <= cgroup->limit);
            /* Below what is used only: a line that stands there, the administrator's, clean cache. */
            assert_true(p.lines[i] >= MIN_OF(MIN_OF(lowest, cgroup->line), cgroup->limit));
            if (p.lines[i] + cgroup->clean < cgroup->usage)
                assert_true(p.lines[i] == cgroup->line || p.lines[i] == cgroup->limit);
            grown += sub_floor(p.lines[i], cgroup->usage);
        }
        assert_true(grown <= MAX_OF(s.free, s.available) + s.n * LINE_FLOOR);
        assert_true(p.look_usec == USEC_FOREVER ||
                    (p.look_usec >= GUARD_LOOK_MIN_USEC && p.look_usec <= GUARD_LOOK_MAX_USEC));
    }
}

static void test_names(void **state)
{
    static const char *const good[] = { "user.slice", "docker", "lxc.payload.a b", "a=b",
        "kubepods-x.slice" };
    static const char *const bad[] = { "", ".", "..", ".hidden", "../x.slice", "a/b", "/" };

    for (size_t i = 0; i < ELEMENTSOF(good); i++)
        assert_true(guard_cgroup_name_is_valid(good[i]));
    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        assert_false(guard_cgroup_name_is_valid(bad[i]));
}

static void test_switch(void **state)
{
    const struct guard_wish wish = { .enabled = true, .headroom = MIB(256) };
    const struct limits limits = {
        .device = true,
        .host = true,
        .size = GIB(1),
        .requested_size = GIB(1),
        .max_size = UINT64_MAX,
        .host_max_size = GIB(4),
        .block_size = MIB(2),
    };
    struct guard_wish w = wish;
    struct limits l = limits;

    assert_int_equal(guard_switch(&w, &l), GUARD_ON);
    w.headroom = 0;
    assert_int_equal(guard_switch(&w, &l), GUARD_OFF_ASKED);
    w = wish;
    w.enabled = false;
    assert_int_equal(guard_switch(&w, &l), GUARD_OFF_CONFIGURED);
    w = wish;
    w.refused = true;
    assert_int_equal(guard_switch(&w, &l), GUARD_OFF_REFUSED);
    w = wish;
    w.caller_left = true;
    assert_int_equal(guard_switch(&w, &l), GUARD_OFF_CALLER_LEFT);
    w = wish;
    l.host = false;
    assert_int_equal(guard_switch(&w, &l), GUARD_OFF_NO_HOST);
    l = limits;
    l.device = false;
    assert_int_equal(guard_switch(&w, &l), GUARD_OFF_NO_DEVICE);
    l = limits;
    /* What was asked for but has not come yet is worth waiting for. */
    l.requested_size = GIB(4);
    assert_int_equal(guard_switch(&w, &l), GUARD_ON);
    l.size = GIB(4);
    assert_int_equal(guard_switch(&w, &l), GUARD_OFF_AT_MAX);
    l.size = GIB(1);
    l.max_size = GIB(1) + MIB(1);
    assert_int_equal(guard_switch(&w, &l), GUARD_OFF_AT_MAX);
    for (int i = 0; i < _GUARD_OFF_MAX; i++)
        assert_non_null(guard_off_text(i));
    assert_null(guard_off_text(_GUARD_OFF_MAX));
}

/* For so many seconds, with a look each second: held or not, and the requested size in MiB. */
static void test_hold(void **state)
{
    static const struct {
        unsigned seconds;
        bool held;
        uint64_t size;
        bool stalled; /* in the end, and not before */
    } rows[] = {
        { 20, true, 1024, false },
        { 1, true, 1024, true },
        /* It is off now, nothing is held any more, and only growth that is one arms it again. */
        { 1, false, 1024, true },
        { 500, false, 1024 + 127, true },
        { 1, false, 0, true },
        { 1, false, 1024 + 127, true },
        { 1, false, 1024 + 128, false },
        /* Growth in time begins anew; crumbs and giving back do not. */
        { 15, true, 1024, false },
        { 10, true, 1024 + 128, false },
        { 5, true, 1024 + 130, false },
        { 5, true, 900, false },
        { 1, true, 900 + 128, true },
        { 1, false, 1024 + 256, false },
        /* A pause ends it when it is long enough. */
        { 10, true, 1024, false },
        { 8, false, 1024, false },
        { 2, true, 1024, false },
        { 1, true, 1024, true },
        { 1, false, 2048, false },
        { 15, true, 1024, false },
        { 10, false, 1024, false },
        { 20, true, 1024, false },
        { 1, true, 1024, true },
    };
    struct guard_hold h = { 0 };
    uint64_t now = USEC_PER_SEC;
    bool was = false;

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        for (unsigned k = 1; k <= rows[i].seconds; k++, now += USEC_PER_SEC) {
            bool stalled = guard_hold_step(&h, rows[i].held, rows[i].size * MIB(1), now);

            assert_int_equal(stalled, k == rows[i].seconds ? rows[i].stalled : was);
        }
        was = rows[i].stalled;
    }
}

static void test_line_texts(void **state)
{
    char buf[GUARD_LINE_TEXT_MAX];
    uint64_t line = 7;

    assert_int_equal(guard_line_parse("max\n", &line), 0);
    assert_true(line == GUARD_NO_LINE);
    assert_string_equal(guard_line_format(buf, GUARD_NO_LINE), "max");
    assert_int_equal(guard_line_parse("1048576\n", &line), 0);
    assert_int_equal(line, MIB(1));
    assert_string_equal(guard_line_format(buf, line), "1048576");
    for (size_t i = 0; i < 5; i++) {
        static const char *const bad[] = { "", "maximum", "-1", "12k", "99999999999999999999999999" };

        assert_int_equal(guard_line_parse(bad[i], &line), -EBADMSG);
        assert_int_equal(line, MIB(1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headroom),
        cmocka_unit_test(test_quiet_cgroups_share_the_room),
        cmocka_unit_test(test_the_room_goes_to_the_cgroup_that_grows),
        cmocka_unit_test(test_an_empty_cgroup_gets_the_smallest_line),
        cmocka_unit_test(test_holds),
        cmocka_unit_test(test_memory_that_leaves_is_no_room),
        cmocka_unit_test(test_cache_makes_room),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_kernel_zones_bound_the_room),
        cmocka_unit_test(test_small_moves_are_not_written),
        cmocka_unit_test(test_invariants),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_switch),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_line_texts),
    };

    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
