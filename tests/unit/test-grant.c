/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "bytes.h"
#include "grant.h"

static const struct grant_limits limits = { .min_size = MIB(256), .max_size = GIB(8), .block_size = MIB(2) };

static void test_table(void **state)
{
    static const struct {
        uint64_t have; /* requested and committed */
        uint64_t wanted;
        uint64_t spendable; /* MemAvailable over the reserve and what is promised */
        enum grant_verdict verdict;
        uint64_t granted;
        enum channel_code code;
    } rows[] = {
        { GIB(1), GIB(2), GIB(4), GRANT_FULL, GIB(2), 0 },
        { GIB(1), GIB(8), GIB(64), GRANT_FULL, GIB(8), 0 },
        { GIB(1), GIB(8) + MIB(2), GIB(64), GRANT_REFUSED, 0, CHANNEL_CODE_LIMIT },
        { GIB(1), INT64_MAX, GIB(64), GRANT_REFUSED, 0, CHANNEL_CODE_INVALID },
        { GIB(1), GIB(2), MIB(513), GRANT_PART, GIB(1) + MIB(512), 0 },
        { GIB(1), GIB(2), MIB(1), GRANT_REFUSED, 0, CHANNEL_CODE_HOST_MEMORY },
        { GIB(1), GIB(2), 0, GRANT_REFUSED, 0, CHANNEL_CODE_HOST_MEMORY },
        { GIB(1), MIB(512), 0, GRANT_FULL, MIB(512), 0 },
        { GIB(1), MIB(256), 0, GRANT_FULL, MIB(256), 0 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct grant_vm vm = { .requested_size = rows[i].have, .committed = rows[i].have };
        struct grant_host host = { true, GIB(2) + rows[i].spendable, GIB(1), GIB(1) };
        struct grant g = { 0 };

        grant_decide(&limits, &vm, &host, rows[i].wanted, &g);
        if (g.verdict != rows[i].verdict)
            fail_msg("row %zu: verdict %d: %s", i, g.verdict, g.text);
        if (g.verdict == GRANT_REFUSED) {
            assert_int_equal(g.code, rows[i].code);
            assert_true(strlen(g.text) > 0);
        } else
            assert_int_equal(g.requested_size, rows[i].granted);
    }
}

static void test_nothing_is_spent_unknown(void **state)
{
    struct grant_host host = { false, GIB(64), 0, 0 };

    assert_int_equal(grant_spendable(&host), 0);
    host = (struct grant_host){ true, GIB(2), GIB(1), GIB(2) };
    assert_int_equal(grant_spendable(&host), 0);
    host = (struct grant_host){ true, GIB(4), GIB(1), GIB(2) };
    assert_int_equal(grant_spendable(&host), GIB(1));
}

static void test_property(void **state)
{
    uint64_t x = 991;

    for (unsigned i = 0; i < 100000; i++) {
        uint64_t n[6];
        struct grant g;
        struct grant_vm vm;
        struct grant_host host;

        for (size_t k = 0; k < ELEMENTSOF(n); k++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            n[k] = (x >> (x % 30)) % GIB(16);
        }
        vm.requested_size = bytes_round_down(n[0] % GIB(8), MIB(2));
        vm.committed = MAX_OF(vm.requested_size, bytes_round_down(n[1] % GIB(8), MIB(2)));
        host = (struct grant_host){ true, n[2], n[3], n[4] };
        grant_decide(&limits, &vm, &host, n[5], &g);
        if (g.verdict == GRANT_REFUSED)
            continue;
        assert_int_equal(g.requested_size % limits.block_size, 0);
        assert_true(g.requested_size <= MAX_OF(n[5], vm.requested_size) || g.verdict == GRANT_FULL);
        if (g.requested_size > vm.requested_size) {
            assert_true(g.requested_size <= limits.max_size);
            assert_true(sub_floor(g.requested_size, vm.committed) <= grant_spendable(&host));
        } else if (g.requested_size < vm.requested_size)
            assert_true(g.requested_size >= MIN_OF(limits.min_size, vm.requested_size));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_nothing_is_spent_unknown),
        cmocka_unit_test(test_property),
    };

    return cmocka_run_group_tests_name("grant", tests, NULL, NULL);
}
