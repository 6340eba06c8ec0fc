/* SPDX-License-Identifier: MIT */
/* Reclaim's rate, its bounds, its reader, and its run against a scripted kernel. */
#include "unit.h"

#include "names.h"
#include "reclaim.h"

#define STAT                                                                                                 \
    "anon 1000\nfile 2000\nkernel 5\nactive_file 1\ninactive_file 2\nslab_reclaimable 300\nslab 400\n"

static void test_stat(void **state)
{
    static const struct {
        const char *text;
        int r;
    } rows[] = {
        { STAT, 0 },
        { "inactive_file 2\nactive_file 1\nslab_reclaimable 300\nfile 2000\nanon 1000", 0 },
        { "", -EBADMSG },
        { "anon 1000\nfile 2000\nactive_file 1\ninactive_file 2\n", -EBADMSG },
        { "anon 1000\nslab_reclaimable 300\nactive_file 1\ninactive_file 2\n", -EBADMSG },
        { "anon 1000\nfile 2000\nslab_reclaimable 300\nactive_file 1\n", -EBADMSG },
        { STAT "file 2000\n", -EBADMSG },
        { STAT "file_mapped\n", -EBADMSG },
        { STAT "file_mapped 12 kB\n", -EBADMSG },
        { STAT "file_mapped -1\n", -EBADMSG },
        { STAT "file_mapped 18446744073709551616\n", -ERANGE },
        { STAT "file_mapped 18446744073709551615\n", 0 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct reclaim_memory m = { .anon = 7, .file = 7, .slab = 7, .swap_free = 9 };

        assert_int_equal(reclaim_stat_parse(rows[i].text, &m), rows[i].r);
        assert_int_equal(m.file, rows[i].r < 0 ? 7 : 2000);
        assert_int_equal(m.anon, rows[i].r < 0 ? 7 : 1000);
        assert_int_equal(m.slab, rows[i].r < 0 ? 7 : 300);
        assert_int_equal(m.swap_free, 9);
    }
}

static void test_bounds(void **state)
{
    char text[LIMITS_TEXT_MAX];
    const char *error;

    assert_int_equal(reclaim_check(1, &error, text), 0);
    assert_int_equal(reclaim_check(MIB(256), &error, text), 0);
    assert_int_equal(reclaim_check(0, &error, text), -EINVAL);
    assert_string_equal(error, ERROR_INVALID_SIZE);
    assert_int_equal(reclaim_check(MIB(256) + 1, &error, text), -EINVAL);
    assert_string_equal(error, ERROR_LIMIT_EXCEEDED);
    assert_non_null(strstr(text, "268435457"));
    assert_non_null(strstr(text, "256M"));
    assert_int_equal(reclaim_check(UINT64_MAX, &error, text), -EINVAL);
}

static uint64_t admit(struct reclaim_gate *g, uint64_t bytes, uint64_t now)
{
    char text[LIMITS_TEXT_MAX];
    uint64_t got = 0;
    const char *error;

    if (reclaim_admit(g, bytes, now, &got, &error, text) < 0) {
        assert_string_equal(error, ERROR_RATE_LIMITED);
        return 0;
    }
    return got;
}

static void test_rate(void **state)
{
    struct reclaim_gate g = { 0 };
    uint64_t now = 5 * USEC_PER_SEC, sum = 0;

    assert_int_equal(admit(&g, MIB(250), now), MIB(250));
    /* Less than a piece is left, but it is all that is asked. */
    assert_int_equal(admit(&g, MIB(6), now), MIB(6));
    assert_int_equal(admit(&g, 1, now), 0);
    now += USEC_PER_SEC / 4;
    assert_int_equal(admit(&g, MIB(64), now), MIB(16));
    assert_int_equal(admit(&g, MIB(64), now), 0);
    /* A clock that went back gives nothing, and takes nothing. */
    assert_int_equal(admit(&g, MIB(16), 1), 0);
    assert_int_equal(admit(&g, MIB(256), now + 4 * USEC_PER_SEC), MIB(256));
    assert_int_equal(admit(&g, MIB(256), UINT64_MAX), MIB(256));

    /* However often it is asked: the rate holds. */
    g = (struct reclaim_gate){ 0 };
    now = 1;
    for (unsigned i = 0; i < 10000; i++, now += 1001)
        sum += admit(&g, MIB(1) + i, now);
    assert_true(sum <= MIB(256) + now * RECLAIM_RATE / USEC_PER_SEC);
    assert_true(sum >= MIB(256) + (now - USEC_PER_SEC) * RECLAIM_RATE / USEC_PER_SEC);
}

/* The kernel of a test. */
struct kernel {
    struct reclaim_memory m;
    bool swappiness;   /* takes swappiness=0 */
    uint64_t factor;   /* takes this many times what is asked */
    uint64_t usec;     /* a piece takes this */
    uint64_t swaps_at; /* file memory below which anonymous memory goes; 0: never */
    uint64_t active;   /* of the file memory */
    uint64_t dirty;    /* of the file memory: cannot go */
    uint64_t fill;     /* others fill the cache by this meanwhile */
    int fails;         /* the write's errno */
    int look_fails;
    unsigned stop_after;

    uint64_t now;
    unsigned asked;
    char lines[64][48];
};

static int kernel_look(struct reclaim_memory *ret, void *userdata)
{
    const struct kernel *k = userdata;

    if (k->look_fails < 0)
        return k->look_fails;
    *ret = k->m;
    ret->active_file = k->active;
    ret->inactive_file = sub_floor(k->m.file, k->active);
    return 0;
}

static int kernel_ask(const char *line, void *userdata)
{
    struct kernel *k = userdata;
    uint64_t bytes = strtoull(line, NULL, 10), gone;

    assert_true(k->asked < ELEMENTSOF(k->lines));
    assert_true(strlen(line) < sizeof(k->lines[0]));
    (void)snprintf(k->lines[k->asked++], sizeof(k->lines[0]), "%s", line);
    k->now += k->usec;
    if (k->fails < 0)
        return k->fails;
    if (strstr(line, "swappiness") && !k->swappiness)
        return -EINVAL;
    if (k->m.file < k->swaps_at && !strstr(line, "swappiness")) {
        k->m.anon -= bytes;
        k->m.swap_free -= bytes;
        return 0;
    }
    gone = MIN_OF(bytes * k->factor, k->m.file - k->dirty);
    k->m.file += k->fill - gone;
    return gone < bytes ? -EAGAIN : 0;
}

static uint64_t kernel_now(void *userdata)
{
    return ((const struct kernel *)userdata)->now;
}

static bool kernel_go_on(uint64_t reclaimed, void *userdata)
{
    const struct kernel *k = userdata;

    return k->stop_after == 0 || k->asked < k->stop_after;
}

static const struct kernel ordinary = {
    .m = { .anon = MIB(500), .file = MIB(800), .slab = MIB(20) },
    .factor = 1,
    .usec = 50 * USEC_PER_MSEC,
    .now = 1000,
};

static int run(struct kernel *k, uint64_t bytes, bool no_swappiness, struct reclaim_result *ret)
{
    const struct reclaim_io io = { kernel_look, kernel_ask, kernel_now, kernel_go_on, k };

    return reclaim_run(&io, bytes, no_swappiness, ret);
}

static void expect(struct kernel *k, uint64_t bytes, enum reclaim_end end, uint64_t reclaimed, unsigned asked)
{
    struct reclaim_result result;

    assert_int_equal(run(k, bytes, false, &result), 0);
    assert_int_equal(result.end, end);
    assert_int_equal(result.reclaimed, reclaimed);
    assert_int_equal(k->asked, asked);
    assert_true(result.asked <= MAX_OF(bytes, reclaimed));
}

static void test_pieces(void **state)
{
    struct kernel k = ordinary;

    expect(&k, MIB(40), RECLAIM_DONE, MIB(40), 3);
    assert_string_equal(k.lines[0], "16777216\n");
    assert_string_equal(k.lines[2], "8388608\n");
    k = ordinary;
    expect(&k, 1, RECLAIM_DONE, 1, 1);
    assert_string_equal(k.lines[0], "1\n");
    /* Linux 6.1. */
    k = ordinary;
    k.factor = 2;
    expect(&k, MIB(64), RECLAIM_DONE, MIB(64), 2);
}

static void test_little_cache(void **state)
{
    struct kernel k = ordinary;

    k.m.file = MIB(124);
    k.dirty = MIB(100);
    expect(&k, MIB(64), RECLAIM_GONE, MIB(24), 2);
    k = ordinary;
    k.dirty = k.m.file;
    expect(&k, MIB(64), RECLAIM_GONE, 0, 1);
    /* Programs' text is cache as well. */
    k = ordinary;
    k.m.file = RECLAIM_CACHE_MIN + MIB(20);
    expect(&k, MIB(64), RECLAIM_SPARE, MIB(20), 2);
    assert_string_equal(k.lines[1], "4194304\n");
    expect(&k, MIB(64), RECLAIM_SPARE, 0, 2);
    /* Cache comes as fast as it goes: no more is asked than was wanted. */
    k = ordinary;
    k.fill = MIB(16);
    expect(&k, MIB(64), RECLAIM_DONE, 0, 4);
    k = ordinary;
    k.fill = MIB(17);
    expect(&k, MIB(64), RECLAIM_DONE, 0, 4);
}

static void test_time(void **state)
{
    struct kernel k = ordinary;

    k.usec = 600 * USEC_PER_MSEC;
    expect(&k, MIB(256), RECLAIM_LATE, MIB(48), 3);
    assert_true(k.now <= 1000 + RECLAIM_TIME_USEC);
    k = ordinary;
    k.usec = 5 * USEC_PER_SEC;
    expect(&k, MIB(256), RECLAIM_LATE, MIB(16), 1);
    k = ordinary;
    k.stop_after = 2;
    expect(&k, MIB(256), RECLAIM_STOPPED, MIB(32), 2);
    k = ordinary;
    k.fails = -EINTR;
    expect(&k, MIB(256), RECLAIM_STOPPED, 0, 1);
}

static void test_swap_new_kernel(void **state)
{
    struct kernel k = ordinary;

    k.m.swap_total = k.m.swap_free = GIB(1);
    k.swappiness = true;
    k.swaps_at = UINT64_MAX; /* would swap at once if it were let */
    expect(&k, MIB(20), RECLAIM_DONE, MIB(20), 2);
    assert_string_equal(k.lines[0], "16777216 swappiness=0\n");
    assert_string_equal(k.lines[1], "4194304 swappiness=0\n");
    assert_int_equal(k.m.anon, MIB(500));
}

static void test_swap_old_kernel(void **state)
{
    struct kernel k = ordinary;
    struct reclaim_gate g = { 0 };
    struct reclaim_result result;

    k.m.swap_total = k.m.swap_free = GIB(1);
    k.swaps_at = MIB(790);
    assert_int_equal(run(&k, MIB(64), false, &result), 0);
    assert_int_equal(result.end, RECLAIM_SWAPPED);
    assert_int_equal(result.reclaimed, MIB(12));
    assert_int_equal(result.swapped, MIB(4));
    assert_true(result.no_swappiness);
    assert_string_equal(k.lines[0], "16777216 swappiness=0\n");
    assert_string_equal(k.lines[1], "4194304\n");
    assert_int_equal(k.asked, 5);
    assert_int_equal(k.m.swap_free, GIB(1) - MIB(4));

    /* Too little, or most of it is in use: nothing is asked, and that is no fault. */
    k = ordinary;
    k.m.swap_total = k.m.swap_free = GIB(1);
    k.swaps_at = RECLAIM_CACHE_MIN;
    k.active = MIB(5);
    k.m.file = k.active + RECLAIM_CACHE_MIN + MIB(6);
    assert_int_equal(run(&k, MIB(64), true, &result), 0);
    assert_int_equal(result.end, RECLAIM_SPARE);
    assert_int_equal(result.reclaimed, MIB(6));
    assert_int_equal(k.m.swap_free, GIB(1));
    k = ordinary;
    k.m.swap_total = k.m.swap_free = GIB(1);
    k.active = MIB(401);
    assert_int_equal(run(&k, MIB(64), true, &result), 0);
    assert_int_equal(result.end, RECLAIM_SPARE);
    assert_int_equal(k.asked, 0);
    k.active = MIB(390);
    assert_int_equal(run(&k, MIB(64), true, &result), 0);
    assert_int_equal(result.reclaimed, MIB(24));

    /* Known now: it is not tried again, and there is a pause. */
    k = ordinary;
    k.m.swap_total = k.m.swap_free = GIB(1);
    assert_int_equal(run(&k, MIB(4), true, &result), 0);
    assert_int_equal(result.end, RECLAIM_DONE);
    assert_string_equal(k.lines[0], "4194304\n");
    reclaim_learn(&g, &result, 1000);
    assert_int_equal(admit(&g, MIB(4), 1000), MIB(4));
    result.end = RECLAIM_SWAPPED;
    reclaim_learn(&g, &result, 1000);
    assert_int_equal(admit(&g, MIB(4), 1000 + RECLAIM_SWAP_PAUSE_USEC - 1), 0);
    assert_int_equal(admit(&g, MIB(4), 1000 + RECLAIM_SWAP_PAUSE_USEC), MIB(4));
}

static void test_faults(void **state)
{
    struct reclaim_result result;
    struct kernel k = ordinary;

    k.fails = -EACCES;
    assert_int_equal(run(&k, MIB(64), false, &result), -EACCES);
    assert_int_equal(k.asked, 1);
    k = ordinary;
    k.look_fails = -EBADMSG;
    assert_int_equal(run(&k, MIB(64), false, &result), -EBADMSG);
    assert_int_equal(k.asked, 0);
    /* EINVAL is a kernel without swappiness only where that was asked for. */
    k = ordinary;
    k.fails = -EINVAL;
    assert_int_equal(run(&k, MIB(64), false, &result), -EINVAL);
    assert_int_equal(k.asked, 1);
    for (int e = 0; e < _RECLAIM_END_MAX; e++)
        assert_non_null(reclaim_end_to_string((enum reclaim_end)e));
    assert_null(reclaim_end_to_string(_RECLAIM_END_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stat),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_little_cache),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_swap_new_kernel),
        cmocka_unit_test(test_swap_old_kernel),
        cmocka_unit_test(test_faults),
    };

    cmocka_set_message_output(CM_OUTPUT_STDOUT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
