/* SPDX-License-Identifier: MIT */
/* Many VMs: what is held for others, what is asked back, and what a VM says of itself for both. */
#include "balance.h"
#include "vm-world.h"

static const struct balance_host plenty = { .numbers = { true, GIB(9), GIB(1), 0, 0 }, .total = GIB(32) };

static void test_held(void **state)
{
    struct balance_host host = plenty;
    struct share_vm vms[3] = {
        { .weight = 100, .claim = GIB(4) },
        { .weight = 100, .claim = GIB(4) },
        { .weight = 100 },
    };

    /* Enough for both. */
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(balance_held(&host, vms, 3, i), 0);
    /* Half for each; who wants nothing gets nothing. */
    vms[0].claim = vms[1].claim = GIB(8);
    assert_in_range(balance_held(&host, vms, 3, 0), GIB(4) - 100, GIB(4) + 100);
    assert_int_equal(balance_held(&host, vms, 3, 0) + balance_held(&host, vms, 3, 1), GIB(8));
    /* A VM that is short is served whole. */
    vms[1].urgent = true;
    assert_int_equal(balance_held(&host, vms, 3, 0), GIB(8));
    assert_int_equal(balance_held(&host, vms, 3, 1), 0);
    /* Alone it has all. */
    vms[0].claim = 0;
    vms[1] = (struct share_vm){ .weight = 1, .claim = GIB(64) };
    assert_int_equal(balance_held(&host, vms, 3, 1), 0);
}

static void test_pressure(void **state)
{
    struct balance_host host = plenty;
    struct share_vm vms[2] = { { .weight = 100, .claim = GIB(1) },
        { .weight = 100, .urgent = true, .claim = GIB(1) } };

    host.pressure10 = 2500; /* not read */
    assert_int_equal(balance_wanted(&host, vms, 2), 0);
    host.have_pressure = true;
    host.pressure10 = 999;
    assert_int_equal(balance_wanted(&host, vms, 2), 0);
    assert_int_equal(balance_held(&host, vms, 2, 0), 0);
    /* First it asks back, then it refuses growth. */
    host.pressure10 = 1000;
    assert_int_equal(balance_wanted(&host, vms, 2), GIB(1));
    assert_int_equal(balance_held(&host, vms, 2, 0), 0);
    host.pressure10 = 2000;
    assert_int_equal(balance_wanted(&host, vms, 2), GIB(1));
    assert_int_equal(balance_held(&host, vms, 2, 0), GIB(8));
    assert_int_equal(balance_held(&host, vms, 2, 1), 0);
}

static void test_wanted(void **state)
{
    struct balance_host host = plenty;
    struct share_vm vms[2] = { { .weight = 100, .claim = GIB(6) }, { .weight = 100, .claim = GIB(6) } };

    assert_int_equal(balance_wanted(&host, vms, 2), 2 * GIB(4));
    vms[1].coming = GIB(7);
    assert_int_equal(balance_wanted(&host, vms, 2), GIB(1));
    vms[1].coming = GIB(9);
    assert_int_equal(balance_wanted(&host, vms, 2), 0);
    vms[0] = vms[1] = (struct share_vm){ .weight = 100 };
    assert_int_equal(balance_wanted(&host, vms, 2), 0);
    /* The reserve itself is touched. */
    host.numbers.available = MIB(512);
    assert_int_equal(balance_wanted(&host, vms, 2), MIB(512));
    host.numbers.known = false;
    assert_int_equal(balance_wanted(&host, vms, 2), 0);
}

/* QEMUs that claim more than there can be: others are asked all the same, for the host's own reserve too. */
static void test_sums_that_do_not_fit(void **state)
{
    struct balance_host host = plenty;
    struct share_vm vms[3] = { { .weight = 1, .claim = UINT64_MAX / 2 },
        { .weight = 1, .claim = UINT64_MAX / 2 }, { .weight = 1, .claim = UINT64_MAX / 2 } };

    assert_int_equal(balance_wanted(&host, vms, 3), UINT64_MAX);
    assert_in_range(balance_held(&host, vms, 3, 0), GIB(5), GIB(6));
    for (size_t i = 0; i < 3; i++)
        vms[i] = (struct share_vm){ .weight = 1, .claim = UINT64_MAX, .coming = UINT64_MAX };
    assert_int_equal(balance_wanted(&host, vms, 3), 0);
}

static struct share_vm share_of(const struct world *w)
{
    struct share_vm v;

    vm_state_share(&w->s, w->now, &v);
    return v;
}

static void say_stats(struct world *w, uint64_t available, enum channel_level level)
{
    world_say(w, &(struct channel_message){
                         .op = CHANNEL_STATS, .available = available, .total = GIB(3), .level = level });
}

/* A VM of 2 GiB of which 1.5 GiB are free. */
static void start_with_spare(struct world *w)
{
    world_start(w, 1);
    world_resize(w, 1, GIB(2));
    world_run(w, SECOND);
    say_stats(w, GIB(1) + MIB(512), CHANNEL_LEVEL_NORMAL);
    world_forget(w);
}

static void test_spare_is_what_was_said_lately(void **state)
{
    struct world w;

    start_with_spare(&w);
    assert_int_equal(share_of(&w).spare, MIB(896));
    assert_int_equal(share_of(&w).committed, GIB(2));
    say_stats(&w, GIB(1) + MIB(512), CHANNEL_LEVEL_RISING);
    assert_int_equal(share_of(&w).spare, 0);
    say_stats(&w, MIB(100), CHANNEL_LEVEL_CRITICAL);
    assert_true(share_of(&w).urgent);
    say_stats(&w, UINT64_MAX, CHANNEL_LEVEL_SETTLING);
    assert_int_equal(share_of(&w).spare, GIB(2));
    assert_false(share_of(&w).urgent);
    world_run(&w, 26 * SECOND);
    assert_int_equal(share_of(&w).spare, 0);
    world_end(&w);
}

static void test_claims(void **state)
{
    struct world w;

    world_start(&w, 1);
    w.host.available = GIB(1) + MIB(64);
    world_resize(&w, 1, GIB(3));
    assert_int_equal(world_sent(&w, CHANNEL_GRANTED, 0)->requested_size, MIB(64));
    w.host.promised = MIB(64);
    world_resize(&w, 2, GIB(3));
    world_assert_refused(&w, 2, CHANNEL_CODE_HOST_MEMORY);
    assert_int_equal(share_of(&w).claim, GIB(3) - MIB(64));
    /* It holds for as long as the guest waits, and a little longer than it takes to ask again. */
    world_run_alive(&w, 100 * SECOND);
    assert_int_equal(share_of(&w).claim, GIB(3) - MIB(64));
    w.host.available = GIB(8);
    world_run_alive(&w, 20 * SECOND);
    assert_int_equal(world_count_sent(&w, CHANNEL_ROOM), 1);
    assert_int_equal(share_of(&w).claim, 0);
    world_resize(&w, 3, GIB(3));
    assert_int_equal(share_of(&w).claim, 0);
    assert_int_equal(share_of(&w).committed, GIB(3));
    world_end(&w);
}

/* A guest above a lowered max asks for more while a change of its is on its way: it claims nothing. */
static void test_nobody_claims_above_its_max(void **state)
{
    struct world w;

    world_start(&w, 1);
    world_resize(&w, 1, GIB(2));
    world_run(&w, SECOND);
    w.s.settings.max_size = GIB(1);
    w.qemu_answers = false;
    world_resize(&w, 2, GIB(1) + MIB(512));
    world_resize(&w, 3, GIB(3));
    assert_int_equal(w.s.queue_len, 1);
    assert_int_equal(share_of(&w).claim, 0);
    world_end(&w);
}

static void test_a_guest_that_declines_is_asked_less_and_less(void **state)
{
    struct world w;
    unsigned asked = 0;

    start_with_spare(&w);
    for (unsigned second = 0; second < 7200; second++) {
        if (second % 10 == 0)
            say_stats(&w, GIB(1) + MIB(512), CHANNEL_LEVEL_NORMAL);
        if (share_of(&w).spare > 0) {
            world_forget(&w);
            assert_int_equal(vm_state_ask_spare(&w.s, MIB(512), w.now), 0);
            world_drain(&w);
            assert_int_equal(world_sent(&w, CHANNEL_SHRINK, 0)->size, GIB(1) + MIB(512));
            assert_true(share_of(&w).coming == MIB(512) && share_of(&w).spare == 0);
            asked++;
            /* Some answer, some do not. */
            if (asked % 2 == 0)
                world_say(&w, &(struct channel_message){ .op = CHANNEL_DECLINED,
                                      .id = world_sent(&w, CHANNEL_SHRINK, 0)->id,
                                      .code = CHANNEL_CODE_IN_USE });
        }
        world_run(&w, SECOND);
    }
    /* 10, 20, 40 … 600 s: some 6 to get there, then one each ten minutes. */
    assert_in_range(asked, 14, 20);
    world_end(&w);
}

static void test_giving_and_regretting(void **state)
{
    struct world w;

    start_with_spare(&w);
    assert_int_equal(vm_state_ask_spare(&w.s, MIB(512), w.now), 0);
    world_drain(&w);
    world_resize(&w, 2, GIB(1) + MIB(512));
    assert_int_equal(share_of(&w).coming, MIB(512)); /* until it is unplugged */
    world_run(&w, 11 * SECOND);
    assert_int_equal(share_of(&w).coming, 0);
    say_stats(&w, GIB(1), CHANNEL_LEVEL_NORMAL);
    assert_true(share_of(&w).spare > 0);
    /* It needs it again: asked once more after 10 s, then after 20. */
    world_resize(&w, 3, GIB(2));
    say_stats(&w, GIB(1) + MIB(512), CHANNEL_LEVEL_NORMAL);
    assert_int_equal(share_of(&w).spare, 0);
    world_run(&w, 10 * SECOND);
    assert_true(share_of(&w).spare > 0);
    assert_int_equal(vm_state_ask_spare(&w.s, MIB(512), w.now), 0);
    world_drain(&w);
    world_resize(&w, 4, GIB(1) + MIB(512));
    world_resize(&w, 5, GIB(2));
    world_run(&w, 19 * SECOND);
    say_stats(&w, GIB(1) + MIB(512), CHANNEL_LEVEL_NORMAL);
    assert_int_equal(share_of(&w).spare, 0);
    world_run(&w, SECOND);
    assert_true(share_of(&w).spare > 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_pressure),
        cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_sums_that_do_not_fit),
        cmocka_unit_test(test_spare_is_what_was_said_lately),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_nobody_claims_above_its_max),
        cmocka_unit_test(test_a_guest_that_declines_is_asked_less_and_less),
        cmocka_unit_test(test_giving_and_regretting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
