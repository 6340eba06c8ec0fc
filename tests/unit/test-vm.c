/* SPDX-License-Identifier: MIT */
#include "vm-world.h"

static void test_greeting(void **state)
{
    struct world w;
    const struct channel_message *m;

    world_init(&w, 2);
    w.qemu[0].size = w.qemu[0].requested_size = GIB(1);
    vm_state_guest_up(&w.s, w.now);
    world_drain(&w);
    assert_int_equal(w.n_sent, 1);
    assert_int_equal(w.sent[0].op, CHANNEL_WHO);
    /* Nothing is said before QEMU's numbers are known. */
    world_hello(&w);
    assert_int_equal(w.n_sent, 1);
    world_qmp_up(&w);
    m = world_sent(&w, CHANNEL_WELCOME, 0);
    assert_non_null(m);
    assert_int_equal(m->version, CHANNEL_VERSION);
    assert_string_equal(m->vm, "guest1");
    assert_int_equal(m->block_size, MIB(2));
    assert_int_equal(m->size, GIB(1));
    assert_int_equal(m->requested_size, GIB(1));
    assert_int_equal(m->min_size, 0);
    assert_int_equal(m->max_size, GIB(8));
    assert_int_equal(w.n_sent, 2);
    /* A guest whose daemon began anew is welcomed again. */
    world_hello(&w);
    assert_int_equal(world_count_sent(&w, CHANNEL_WELCOME), 2);
    world_end(&w);
}

static void test_strangers_are_greeted_again(void **state)
{
    struct world w;

    world_connect(&w, 1);
    world_forget(&w);
    world_resize(&w, 1, GIB(1));
    world_assert_refused(&w, 1, CHANNEL_CODE_INVALID);
    assert_int_equal(w.n_sets, 0);
    world_say(&w, &(struct channel_message){ .op = CHANNEL_STATS });
    vm_state_guest_noise(&w.s, w.now);
    assert_int_equal(world_count_sent(&w, CHANNEL_WHO), 0);
    /* Once a second, not for each line. */
    world_run(&w, 3 * SECOND);
    assert_int_equal(world_count_sent(&w, CHANNEL_WHO), 1);
    world_say(&w, &(struct channel_message){ .op = CHANNEL_PING, .id = 9 });
    assert_int_equal(world_sent(&w, CHANNEL_PONG, 0)->id, 9);
    /* A version that is not ours is told so, and gets nothing. */
    world_say(&w, &(struct channel_message){ .op = CHANNEL_HELLO, .version = 2 });
    assert_int_equal(world_count_sent(&w, CHANNEL_ERROR), 1);
    assert_int_equal(world_count_sent(&w, CHANNEL_WELCOME), 0);
    world_hello(&w);
    assert_int_equal(world_count_sent(&w, CHANNEL_WELCOME), 1);
    assert_int_equal(world_count_sent(&w, CHANNEL_WHO), 1);
    world_end(&w);
}

static void test_granted_after_qemus_answer(void **state)
{
    struct world w;

    world_start(&w, 1);
    w.qemu_answers = false;
    world_resize(&w, 5, GIB(1));
    assert_true(w.set_open);
    assert_int_equal(w.set_bytes, GIB(1));
    assert_int_equal(w.n_sets, 1);
    assert_int_equal(w.n_sent, 0);
    assert_int_equal(vm_state_committed(&w.s), GIB(1));
    w.now += 3000;
    world_answer_set(&w, true);
    assert_int_equal(w.sent[0].op, CHANNEL_GRANTED);
    assert_int_equal(w.sent[0].id, 5);
    assert_int_equal(w.sent[0].requested_size, GIB(1));
    assert_int_equal(w.last_note.type, VM_NOTE_GRANTED);
    assert_int_equal(w.last_note.usec, 3000);
    world_run(&w, SECOND);
    assert_int_equal(world_count_sent(&w, CHANNEL_SIZE), 1);
    assert_int_equal(world_sent(&w, CHANNEL_SIZE, 0)->size, GIB(1));
    /* What QEMU has already is granted without asking it. */
    world_forget(&w);
    world_resize(&w, 6, GIB(1));
    assert_int_equal(world_sent(&w, CHANNEL_GRANTED, 0)->requested_size, GIB(1));
    assert_int_equal(w.n_sets, 0);
    world_end(&w);
}

static void test_qemu_that_refuses_or_dies(void **state)
{
    struct world w;

    world_start(&w, 1);
    w.qemu_answers = false;
    world_resize(&w, 1, GIB(1));
    world_answer_set(&w, false);
    world_assert_refused(&w, 1, CHANNEL_CODE_DEVICE);
    assert_int_equal(w.notes[VM_NOTE_SET_FAILED], 1);
    assert_int_equal(w.n_queries, 1);
    assert_int_equal(vm_state_committed(&w.s), 0);

    /* A second one waits when QEMU goes away; both are refused, and the first counts until QEMU says
     * otherwise. */
    world_forget(&w);
    world_resize(&w, 2, GIB(1));
    world_resize(&w, 3, GIB(2));
    world_qmp_down(&w);
    world_assert_refused(&w, 2, CHANNEL_CODE_DEVICE);
    world_assert_refused(&w, 3, CHANNEL_CODE_DEVICE);
    assert_int_equal(world_count_sent(&w, CHANNEL_GRANTED), 0);
    assert_int_equal(vm_state_committed(&w.s), GIB(1));
    world_resize(&w, 4, GIB(1));
    world_assert_refused(&w, 4, CHANNEL_CODE_DEVICE);
    world_run(&w, 20 * SECOND);
    world_forget(&w);
    w.qemu[0].requested_size = GIB(1); /* it had done it */
    world_qmp_up(&w);
    assert_int_equal(world_sent(&w, CHANNEL_SIZE, 0)->requested_size, GIB(1));
    assert_int_equal(w.notes[VM_NOTE_FOREIGN], 0);
    world_end(&w);
}

static void test_numbers_that_cannot_be(void **state)
{
    struct world w;

    world_start(&w, 1);
    vm_state_query_failed(&w.s, w.now);
    world_resize(&w, 1, GIB(1));
    world_assert_refused(&w, 1, CHANNEL_CODE_DEVICE);
    assert_int_equal(w.n_sets, 0);
    /* QEMU is asked again, and then all is well. */
    world_run(&w, 2 * SECOND);
    assert_int_equal(w.n_queries, 1);
    assert_int_equal(w.notes[VM_NOTE_KNOWN], 1);
    world_resize(&w, 2, GIB(1));
    assert_int_equal(world_count_sent(&w, CHANNEL_GRANTED), 1);
    world_end(&w);
}

static void test_rate(void **state)
{
    struct world w;

    world_start(&w, 1);
    for (unsigned i = 0; i < 25; i++)
        world_resize(&w, i, MIB(2) * (i + 1));
    assert_int_equal(world_count_sent(&w, CHANNEL_GRANTED), 20);
    assert_int_equal(world_count_sent(&w, CHANNEL_REFUSED), 5);
    world_assert_refused(&w, 20, CHANNEL_CODE_RATE);
    assert_non_null(strstr(world_sent(&w, CHANNEL_REFUSED, 0)->text, "10 requests a second"));
    /* One room, when there is a token. */
    world_run(&w, 99 * USEC_PER_MSEC);
    assert_int_equal(world_count_sent(&w, CHANNEL_ROOM), 0);
    world_run(&w, SECOND);
    assert_int_equal(world_count_sent(&w, CHANNEL_ROOM), 1);
    /* Shrinks count too. */
    world_forget(&w);
    for (unsigned i = 0; i < 20; i++)
        world_resize(&w, i, MIB(2));
    assert_int_equal(world_count_sent(&w, CHANNEL_GRANTED), 10);
    world_end(&w);
}

static void test_queue(void **state)
{
    struct world w;

    world_start(&w, 1);
    w.qemu_answers = false;
    for (unsigned i = 0; i < 18; i++)
        world_resize(&w, i, MIB(2) * (i + 1));
    assert_int_equal(w.n_sent, 1);
    world_assert_refused(&w, 17, CHANNEL_CODE_BUSY);
    for (unsigned i = 0; i < 17; i++)
        world_answer_set(&w, true);
    assert_int_equal(world_count_sent(&w, CHANNEL_GRANTED), 17);
    for (unsigned i = 0; i < 17; i++) {
        assert_int_equal(world_sent(&w, CHANNEL_GRANTED, i)->id, i);
        assert_int_equal(world_sent(&w, CHANNEL_GRANTED, i)->requested_size, MIB(2) * (i + 1));
    }
    world_end(&w);
}

static void test_host_memory(void **state)
{
    struct world w;

    world_start(&w, 1);
    w.host.available = GIB(1) + MIB(300);
    world_resize(&w, 1, GIB(1));
    assert_int_equal(world_sent(&w, CHANNEL_GRANTED, 0)->requested_size, MIB(300));
    w.host.available = GIB(1);
    world_resize(&w, 2, GIB(1));
    world_assert_refused(&w, 2, CHANNEL_CODE_HOST_MEMORY);
    assert_int_equal(world_sent(&w, CHANNEL_REFUSED, 0)->max_size, GIB(4));
    /* Looked at once a second, later every 10 s; crumbs are no room. */
    world_forget(&w);
    w.host.available = GIB(1) + MIB(64);
    world_run_alive(&w, 60 * SECOND);
    assert_in_range(w.n_budgets, 59, 61);
    world_run_alive(&w, 100 * SECOND);
    assert_in_range(w.n_budgets, 69, 72);
    assert_int_equal(world_count_sent(&w, CHANNEL_ROOM), 0);
    w.host.available = GIB(2);
    world_run_alive(&w, 10 * SECOND);
    assert_int_equal(world_count_sent(&w, CHANNEL_ROOM), 1);
    /* Once, and nobody looks any more. */
    world_forget(&w);
    world_run_alive(&w, 60 * SECOND);
    assert_int_equal(world_count_sent(&w, CHANNEL_ROOM), 0);
    assert_int_equal(w.n_budgets, 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greeting),
        cmocka_unit_test(test_strangers_are_greeted_again),
        cmocka_unit_test(test_granted_after_qemus_answer),
        cmocka_unit_test(test_qemu_that_refuses_or_dies),
        cmocka_unit_test(test_numbers_that_cannot_be),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_host_memory),
    };

    return cmocka_run_group_tests_name("vm", tests, NULL, NULL);
}
