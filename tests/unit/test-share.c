/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "bytes.h"
#include "share.h"
#include "unit.h"

#define VMS 8u

static uint64_t random_state = 1;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return n > 0 ? random_state % n : 0;
}

static void test_spare(void **state)
{
    static const struct {
        uint64_t available, total, requested, min, spare;
    } rows[] = {
        { GIB(2), GIB(4), GIB(3), 0, GIB(2) - MIB(640) },
        { GIB(2), GIB(4), GIB(1), 0, GIB(1) },
        { GIB(2), GIB(4), GIB(1), MIB(512), MIB(512) },
        { GIB(2), GIB(4), GIB(1), GIB(2), 0 },
        { MIB(608), GIB(4), GIB(3), 0, 0 },
        { MIB(735), GIB(4), GIB(3), 0, 0 },
        { MIB(736), GIB(4), GIB(3), 0, MIB(128) },
        { UINT64_MAX, UINT64_MAX, UINT64_MAX, 0, (UINT64_MAX - MIB(1120)) / MIB(128) * MIB(128) },
        { 0, 0, 0, 0, 0 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        assert_int_equal(
                share_spare(rows[i].available, rows[i].total, rows[i].requested, rows[i].min), rows[i].spare);
}

static void test_out(void **state)
{
    static const struct {
        const char *name;
        struct share_vm vms[3];
        uint64_t spendable;
        uint64_t give[3];
    } rows[] = {
        { "enough for all",
                { { 100, 0, 300, false, 0, 0 }, { 1, 900, 200, false, 0, 0 }, { 1, 0, 0, false, 0, 0 } }, 500,
                { 300, 200, 0 } },
        { "equal weights, equal sizes",
                { { 1, 100, 300, false, 0, 0 }, { 1, 100, 300, false, 0, 0 }, { 1, 0, 0, false, 0, 0 } }, 400,
                { 200, 200, 0 } },
        { "who has less comes first",
                { { 1, 500, 300, false, 0, 0 }, { 1, 100, 300, false, 0, 0 }, { 1, 0, 0, false, 0, 0 } }, 250,
                { 0, 250, 0 } },
        { "by weight", { { 3, 0, 900, false, 0, 0 }, { 1, 0, 900, false, 0, 0 }, { 1, 0, 0, false, 0, 0 } },
                400, { 300, 100, 0 } },
        { "what one does not want is the others'",
                { { 1, 0, 10, false, 0, 0 }, { 1, 0, 900, false, 0, 0 }, { 1, 0, 900, false, 0, 0 } }, 410,
                { 10, 200, 200 } },
        { "urgent first, whatever it has",
                { { 1, 5000, 300, true, 0, 0 }, { 100, 0, 900, false, 0, 0 }, { 1, 0, 0, false, 0, 0 } }, 400,
                { 300, 100, 0 } },
        { "urgent ones among themselves",
                { { 1, 0, 300, true, 0, 0 }, { 1, 0, 300, true, 0, 0 }, { 9, 0, 300, false, 0, 0 } }, 400,
                { 200, 200, 0 } },
        { "a rest that cannot be divided goes somewhere",
                { { 2, 0, 9, false, 0, 0 }, { 2, 0, 9, false, 0, 0 }, { 1, 0, 0, false, 0, 0 } }, 5,
                { 3, 2, 0 } },
        { "nothing to give", { { 1, 0, 9, true, 0, 0 }, { 1, 0, 9, false, 0, 0 }, { 1, 0, 0, false, 0, 0 } },
                0, { 0, 0, 0 } },
        { "numbers without sense",
                { { 10000, UINT64_MAX, UINT64_MAX, false, 0, 0 }, { 1, 0, UINT64_MAX, false, 0, 0 },
                        { 1, 0, 0, false, 0, 0 } },
                UINT64_MAX, { 0, UINT64_MAX, 0 } },
        { "claims whose sum does not fit",
                { { 1, 0, UINT64_MAX, false, 0, 0 }, { 1, 0, UINT64_MAX, false, 0, 0 },
                        { 1, 0, 0, false, 0, 0 } },
                UINT64_MAX, { UINT64_MAX / 2 + 1, UINT64_MAX / 2, 0 } },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        uint64_t give[3];

        share_out(rows[i].vms, 3, rows[i].spendable, give);
        if (memcmp(give, rows[i].give, sizeof(give)) != 0)
            fail_msg("%s: %ju %ju %ju", rows[i].name, (uintmax_t)give[0], (uintmax_t)give[1],
                    (uintmax_t)give[2]);
    }
}

static void test_ask(void **state)
{
    static const struct share_vm vms[] = {
        { 1, GIB(4), 0, false, 0, GIB(1) },
        { 1, GIB(4), 0, false, 0, GIB(2) },
        { 1, GIB(4), 0, false, 0, 0 },
        { 1, GIB(4), 0, false, 0, MIB(128) },
    };
    static const struct {
        uint64_t wanted;
        uint64_t ask[4];
    } rows[] = {
        { 0, { 0, 0, 0, 0 } },
        { 1, { 0, MIB(128), 0, 0 } },
        { GIB(2), { 0, GIB(2), 0, 0 } },
        { GIB(2) + 1, { MIB(128), GIB(2), 0, 0 } },
        { GIB(9), { GIB(1), GIB(2), 0, MIB(128) } },
        { UINT64_MAX, { GIB(1), GIB(2), 0, MIB(128) } },
    };
    uint64_t ask[4];

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        share_ask(vms, 4, rows[i].wanted, ask);
        assert_memory_equal(ask, rows[i].ask, sizeof(ask));
    }
}

static void make_random(struct share_vm vms[static VMS])
{
    for (size_t i = 0; i < VMS; i++)
        vms[i] = (struct share_vm){
            .weight = 1 + (uint32_t)random_below(SHARE_WEIGHT_MAX),
            .committed = random_below(GIB(64)),
            .claim = random_below(3) > 0 ? random_below(GIB(16)) : 0,
            .urgent = random_below(4) == 0,
            .spare = random_below(2) > 0 ? random_below(GIB(8)) : 0,
        };
}

/* Nobody who has more for its weight gets anything while one of its kind with less for its weight misses
 * some. */
static void check_fair(const struct share_vm *a, uint64_t given_a, const struct share_vm *b, uint64_t given_b)
{
    unsigned __int128 after_a = (unsigned __int128)(a->committed + given_a) * b->weight;
    unsigned __int128 after_b = (unsigned __int128)(b->committed + given_b) * a->weight;
    /* The rest that cannot be divided. */
    unsigned __int128 slack = (unsigned __int128)VMS * SHARE_WEIGHT_MAX * MAX_OF(a->weight, b->weight) * 2;

    if (a->urgent == b->urgent && given_a > 0 && given_b < b->claim)
        assert_true(after_a <= after_b + slack);
    if (b->urgent && !a->urgent && given_a > 0)
        assert_int_equal(given_b, b->claim);
}

static void test_random(void **state)
{
    struct share_vm vms[VMS];
    uint64_t give[VMS], ask[VMS];

    for (unsigned round = 0; round < 100000; round++) {
        uint64_t spendable = random_below(GIB(64)), sum = 0, claims = 0, asked = 0, spare = 0;
        uint64_t wanted = random_below(GIB(32));

        make_random(vms);
        share_out(vms, VMS, spendable, give);
        share_ask(vms, VMS, wanted, ask);
        for (size_t i = 0; i < VMS; i++) {
            assert_true(give[i] <= vms[i].claim && ask[i] <= vms[i].spare);
            sum += give[i];
            claims += vms[i].claim;
            asked += ask[i];
            spare += vms[i].spare;
            for (size_t k = 0; k < VMS; k++)
                check_fair(&vms[i], give[i], &vms[k], give[k]);
        }
        assert_int_equal(sum, MIN_OF(spendable, claims));
        assert_true(asked >= MIN_OF(wanted, spare) && asked <= MAX_OF(wanted, 1) + MIB(128));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spare),
        cmocka_unit_test(test_out),
        cmocka_unit_test(test_ask),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
