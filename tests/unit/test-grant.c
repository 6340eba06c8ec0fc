/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "bytes.h"
#include "device.h"
#include "grant.h"

static const struct grant_limits limits = { .min_size = MIB(256), .max_size = GIB(8), .block_size = MIB(2) };

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13, *x ^= *x >> 7, *x ^= *x << 17;
    return *x;
}

static void test_table(void **state)
{
    static const struct {
        uint64_t requested;
        uint64_t committed;
        uint64_t wanted;
        uint64_t spendable; /* MemAvailable over the reserve and what is promised */
        enum grant_verdict verdict;
        uint64_t granted;
        enum channel_code code;
    } rows[] = {
        { GIB(1), GIB(1), GIB(2), GIB(4), GRANT_FULL, GIB(2), 0 },
        { GIB(1), GIB(1), GIB(2), GIB(1), GRANT_FULL, GIB(2), 0 },
        { GIB(1), GIB(1), GIB(8), GIB(64), GRANT_FULL, GIB(8), 0 },
        { GIB(1), GIB(1), GIB(8) + MIB(2), GIB(64), GRANT_REFUSED, 0, CHANNEL_CODE_LIMIT },
        { GIB(1), GIB(1), MIB(254), GIB(64), GRANT_REFUSED, 0, CHANNEL_CODE_LIMIT },
        { GIB(1), GIB(1), 0, GIB(64), GRANT_REFUSED, 0, CHANNEL_CODE_LIMIT },
        { GIB(1), GIB(1), MIB(513), GIB(64), GRANT_REFUSED, 0, CHANNEL_CODE_INVALID },
        { GIB(1), GIB(1), INT64_MAX, GIB(64), GRANT_REFUSED, 0, CHANNEL_CODE_INVALID },
        { GIB(1), GIB(1), INT64_MAX - INT64_MAX % MIB(2), GIB(64), GRANT_REFUSED, 0, CHANNEL_CODE_LIMIT },
        { GIB(1), GIB(1), GIB(2), MIB(513), GRANT_PART, GIB(1) + MIB(512), 0 },
        { GIB(1), GIB(1), GIB(2), MIB(2), GRANT_PART, GIB(1) + MIB(2), 0 },
        { GIB(1), GIB(1), GIB(2), MIB(2) - 1, GRANT_REFUSED, 0, CHANNEL_CODE_HOST_MEMORY },
        { GIB(1), GIB(1), GIB(2), 0, GRANT_REFUSED, 0, CHANNEL_CODE_HOST_MEMORY },
        { GIB(1), GIB(1), GIB(1), 0, GRANT_FULL, GIB(1), 0 },
        { GIB(1), GIB(1), MIB(512), 0, GRANT_FULL, MIB(512), 0 },
        { GIB(1), GIB(1), MIB(256), 0, GRANT_FULL, MIB(256), 0 },
        /* Shrinking, 3 GiB still plugged: taking back what is committed costs nothing. */
        { GIB(1), GIB(3), GIB(2), 0, GRANT_FULL, GIB(2), 0 },
        { GIB(1), GIB(3), GIB(3), 0, GRANT_FULL, GIB(3), 0 },
        { GIB(1), GIB(3), GIB(4), 0, GRANT_PART, GIB(3), 0 },
        { GIB(1), GIB(3), GIB(4), MIB(512), GRANT_PART, GIB(3) + MIB(512), 0 },
        /* The max size was lowered below what it has: stepwise down, never up. */
        { GIB(12), GIB(12), GIB(11), 0, GRANT_FULL, GIB(11), 0 },
        { GIB(12), GIB(12), GIB(13), GIB(64), GRANT_REFUSED, 0, CHANNEL_CODE_LIMIT },
        /* Below a raised min size: up in parts, not down. */
        { 0, 0, GIB(1), MIB(100), GRANT_PART, MIB(100), 0 },
        { MIB(100), MIB(100), MIB(98), GIB(1), GRANT_REFUSED, 0, CHANNEL_CODE_LIMIT },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct grant_vm vm = { .requested_size = rows[i].requested, .committed = rows[i].committed };
        struct grant_host host = { true, GIB(2) + rows[i].spendable, GIB(1), GIB(1), 0 };
        struct grant g = { 0 };

        grant_decide(&limits, &vm, &host, rows[i].wanted, &g);
        if (g.verdict != rows[i].verdict)
            fail_msg("row %zu: verdict %d: %s", i, g.verdict, g.text);
        if (g.verdict == GRANT_REFUSED) {
            if (g.code != rows[i].code)
                fail_msg("row %zu: code %d: %s", i, g.code, g.text);
        } else
            assert_int_equal(g.requested_size, rows[i].granted);
    }
}

static void test_texts(void **state)
{
    static const struct {
        uint64_t wanted;
        const char *text;
    } rows[] = {
        { GIB(9), "size 9G is above the max size 8G" },
        { MIB(128), "size 128M is below the min size 256M" },
        { 4097, "size 4097 is not a multiple of the block size 2097152" },
        { GIB(2), "1G more asked, the host has 1M to give" },
    };
    const struct grant_vm vm = { .requested_size = GIB(1), .committed = GIB(1) };
    struct grant_host host = { true, GIB(2) + MIB(1), GIB(1), GIB(1), 0 };
    struct grant g;

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        grant_decide(&limits, &vm, &host, rows[i].wanted, &g);
        assert_int_equal(g.verdict, GRANT_REFUSED);
        assert_string_equal(g.text, rows[i].text);
    }
    host.known = false;
    grant_decide(&limits, &vm, &host, GIB(2), &g);
    assert_string_equal(g.text, "1G more asked, but the host's free memory is not known");
    grant_decide(&limits, &vm, &host, MIB(512), &g);
    assert_int_equal(g.verdict, GRANT_FULL);
}

static void test_nothing_is_spent_unknown(void **state)
{
    struct grant_host host = { false, GIB(64), 0, 0, 0 };

    assert_int_equal(grant_spendable(&host), 0);
    host = (struct grant_host){ true, GIB(2), GIB(1), GIB(2), 0 };
    assert_int_equal(grant_spendable(&host), 0);
    host = (struct grant_host){ true, GIB(4), GIB(1), UINT64_MAX, 0 };
    assert_int_equal(grant_spendable(&host), 0);
    host = (struct grant_host){ true, GIB(4), GIB(1), GIB(2), 0 };
    assert_int_equal(grant_spendable(&host), GIB(1));
    host.held = MIB(512);
    assert_int_equal(grant_spendable(&host), MIB(512));
    host.held = GIB(2);
    assert_int_equal(grant_spendable(&host), 0);
}

static void test_property(void **state)
{
    unsigned verdicts[_GRANT_VERDICT_MAX] = { 0 };
    uint64_t x = 991;

    for (unsigned i = 0; i < 200000; i++) {
        struct grant_limits l = { .block_size = MIB(1) << next_random(&x) % 4 };
        uint64_t blocks = GIB(16) / l.block_size, wanted;
        struct grant_host host = { next_random(&x) % 16 != 0, next_random(&x) % GIB(32),
            next_random(&x) % GIB(4), next_random(&x) % GIB(16),
            next_random(&x) % 4 == 0 ? next_random(&x) % GIB(2) : 0 };
        struct grant_vm vm;
        struct grant g;

        l.min_size = next_random(&x) % 64 * l.block_size;
        l.max_size = l.min_size + next_random(&x) % blocks * l.block_size;
        vm.requested_size = next_random(&x) % blocks * l.block_size;
        vm.committed = next_random(&x) % blocks * l.block_size;
        vm.committed = MAX_OF(vm.requested_size, vm.committed);
        wanted = next_random(&x) % (2 * blocks) * l.block_size + (next_random(&x) % 32 == 0);
        grant_decide(&l, &vm, &host, wanted, &g);
        verdicts[g.verdict]++;
        if (g.verdict == GRANT_REFUSED) {
            assert_true(g.text[0] != '\0');
            /* A decrease that is a multiple and not below the min size is never refused. */
            assert_false(wanted % l.block_size == 0 && wanted >= l.min_size && wanted <= vm.requested_size);
            continue;
        }
        assert_int_equal(g.requested_size % l.block_size, 0);
        assert_true(g.requested_size <= wanted);
        assert_int_equal(g.verdict == GRANT_FULL, g.requested_size == wanted);
        assert_true(g.requested_size <= MAX_OF(l.max_size, vm.requested_size));
        assert_true(g.requested_size >= l.min_size || g.requested_size > vm.requested_size);
        assert_true(sub_floor(g.requested_size, vm.committed) <= grant_spendable(&host));
    }
    for (int v = 0; v < _GRANT_VERDICT_MAX; v++)
        assert_true(verdicts[v] > 1000);
}

static void test_plan(void **state)
{
    static const struct {
        struct device_numbers d[3]; /* in MiB: size, requested, max, block */
        uint64_t total;
        uint64_t targets[3];
    } rows[] = {
        /* Filled in order, emptied in reverse order. */
        { { { 0, 0, 100, 2 }, { 0, 0, 100, 2 }, { 0, 0, 100, 2 } }, 150, { 100, 50, 0 } },
        { { { 0, 0, 100, 2 }, { 0, 0, 100, 2 }, { 0, 0, 100, 2 } }, 300, { 100, 100, 100 } },
        { { { 100, 100, 100, 2 }, { 50, 50, 100, 2 }, { 0, 0, 100, 2 } }, 120, { 100, 20, 0 } },
        { { { 100, 100, 100, 2 }, { 50, 50, 100, 2 }, { 0, 0, 100, 2 } }, 60, { 60, 0, 0 } },
        { { { 100, 100, 100, 2 }, { 50, 50, 100, 2 }, { 0, 0, 100, 2 } }, 150, { 100, 50, 0 } },
        { { { 100, 100, 100, 2 }, { 50, 50, 100, 2 }, { 4, 4, 100, 2 } }, 0, { 0, 0, 0 } },
        /* Growth takes back a shrink in flight first, wherever it is. */
        { { { 50, 50, 100, 2 }, { 50, 20, 100, 2 }, { 0, 0, 100, 2 } }, 90, { 50, 40, 0 } },
        { { { 50, 50, 100, 2 }, { 50, 20, 100, 2 }, { 0, 0, 100, 2 } }, 120, { 70, 50, 0 } },
        /* Steps of the largest block. */
        { { { 0, 0, 102, 2 }, { 0, 0, 100, 4 }, { 0, 0, 100, 2 } }, 160, { 100, 60, 0 } },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct device_numbers d[3];
        uint64_t targets[3];

        for (unsigned k = 0; k < 3; k++)
            d[k] = (struct device_numbers){ MIB(rows[i].d[k].size), MIB(rows[i].d[k].requested_size),
                MIB(rows[i].d[k].max_size), MIB(rows[i].d[k].block_size) };
        devices_plan(d, 3, MIB(rows[i].total), targets);
        for (unsigned k = 0; k < 3; k++)
            if (targets[k] != MIB(rows[i].targets[k]))
                fail_msg("row %zu, device %u: %s", i, k, FORMAT_BYTES(targets[k]));
    }
}

/* The plan is what was asked, no device leaves its bounds, and what the host owes grows by no more than it
 * must. */
static void test_plan_property(void **state)
{
    uint64_t x = 77;

    for (unsigned i = 0; i < 100000; i++) {
        unsigned n = 1 + (unsigned)(next_random(&x) % DEVICES_MAX);
        struct device_numbers d[DEVICES_MAX];
        uint64_t targets[DEVICES_MAX], total, sum = 0, before = 0, after = 0;

        for (unsigned k = 0; k < n; k++) {
            d[k].block_size = MIB(2);
            d[k].max_size = MIB(2) * (next_random(&x) % 512);
            d[k].size = MIB(2) * (next_random(&x) % (d[k].max_size / MIB(2) + 1));
            d[k].requested_size = MIB(2) * (next_random(&x) % (d[k].max_size / MIB(2) + 1));
            before += MAX_OF(d[k].size, d[k].requested_size);
        }
        total = MIB(2) * (next_random(&x) % (devices_max(d, n) / MIB(2) + 1));
        devices_plan(d, n, total, targets);
        for (unsigned k = 0; k < n; k++) {
            assert_true(targets[k] <= d[k].max_size);
            assert_int_equal(targets[k] % MIB(2), 0);
            sum += targets[k];
            after += MAX_OF(d[k].size, targets[k]);
        }
        assert_int_equal(sum, total);
        assert_true(after <= MAX_OF(before, total));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_nothing_is_spent_unknown),
        cmocka_unit_test(test_property),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_plan_property),
    };

    return cmocka_run_group_tests_name("grant", tests, NULL, NULL);
}
