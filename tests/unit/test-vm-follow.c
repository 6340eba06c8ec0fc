/* SPDX-License-Identifier: MIT */
#include "vm-world.h"

static void test_follow(void **state)
{
    struct world w;

    world_start(&w, 1);
    /* Idle: nobody asks QEMU. */
    world_run(&w, 20 * SECOND);
    assert_int_equal(w.n_queries, 0);
    w.guest_follows = false;
    world_resize(&w, 1, GIB(1));
    world_run(&w, SECOND);
    assert_in_range(w.n_queries, 48, 51);
    assert_int_equal(world_count_sent(&w, CHANNEL_SIZE), 0);
    world_forget(&w);
    world_run(&w, 3 * SECOND);
    assert_in_range(w.n_queries, 2, 4);
    /* Each change is told once, by the event's query too. */
    world_forget(&w);
    w.qemu[0].size = MIB(512);
    vm_state_size_event(&w.s, w.now);
    world_drain(&w);
    assert_int_equal(world_sent(&w, CHANNEL_SIZE, 0)->size, MIB(512));
    vm_state_size_event(&w.s, w.now);
    world_drain(&w);
    assert_int_equal(world_count_sent(&w, CHANNEL_SIZE), 1);
    w.qemu[0].size = GIB(1);
    world_run(&w, 2 * SECOND);
    assert_int_equal(w.notes[VM_NOTE_COMPLETE], 1);
    world_forget(&w);
    world_run(&w, 20 * SECOND);
    assert_int_equal(w.n_queries, 0);
    world_end(&w);
}

static void test_kick(void **state)
{
    struct world w;

    world_start(&w, 1);
    w.guest_follows = false;
    world_resize(&w, 1, GIB(1));
    world_forget(&w);
    /* A guest that grows is kicked after half a second. Asking for the same again is no progress. */
    world_run(&w, SECOND / 4);
    world_resize(&w, 2, GIB(1));
    world_run(&w, SECOND / 4 - 1);
    assert_int_equal(w.n_sets, 0);
    world_run(&w, 1);
    assert_int_equal(w.n_sets, 1);
    assert_int_equal(w.set_bytes, GIB(1));
    assert_int_equal(w.notes[VM_NOTE_KICK], 1);
    assert_int_equal(world_count_sent(&w, CHANNEL_GRANTED), 1);
    /* Less and less often; growth is never taken back. */
    world_run(&w, 595 * SECOND);
    assert_in_range(w.n_sets, 13, 18);
    assert_int_equal(w.set_bytes, GIB(1));
    /* Progress starts the delays over. */
    w.qemu[0].size = MIB(128);
    vm_state_size_event(&w.s, w.now);
    world_drain(&w);
    world_forget(&w);
    world_run(&w, SECOND);
    assert_int_equal(w.n_sets, 1);
    world_end(&w);
}

/* QEMU may answer a kick after the size has moved: the log names the time that was the reason for it. */
static void test_kick_reports_the_time_without_progress(void **state)
{
    struct world w;

    world_start(&w, 1);
    w.guest_follows = false;
    world_resize(&w, 1, GIB(1));
    w.qemu_answers = false;
    world_run(&w, SECOND / 2);
    assert_true(w.set_open);
    w.qemu[0].size = MIB(512);
    vm_state_size_event(&w.s, w.now);
    world_drain(&w);
    world_run(&w, SECOND / 100);
    world_answer_set(&w, true);
    world_drain(&w);
    assert_int_equal(w.notes[VM_NOTE_KICK], 1);
    assert_int_equal(w.last_note.usec, SECOND / 2);
    world_end(&w);
}

static void test_stuck_shrink_is_ended(void **state)
{
    struct world w;

    world_start(&w, 1);
    world_resize(&w, 1, GIB(2));
    world_run(&w, SECOND);
    w.guest_follows = false;
    world_resize(&w, 2, GIB(1));
    w.qemu[0].size = MIB(1536);
    world_run(&w, SECOND);
    world_forget(&w);
    world_run(&w, 28 * SECOND);
    assert_int_equal(w.s.devices[0].requested_size, GIB(1));
    assert_in_range(w.n_sets, 2, 5);
    world_run(&w, 3 * SECOND);
    assert_int_equal(w.qemu[0].requested_size, MIB(1536));
    assert_int_equal(w.notes[VM_NOTE_UNSTUCK], 1);
    assert_int_equal(world_count_sent(&w, CHANNEL_SIZE), 1);
    assert_int_equal(world_sent(&w, CHANNEL_SIZE, 0)->requested_size, MIB(1536));
    world_forget(&w);
    world_run(&w, 20 * SECOND);
    assert_int_equal(w.n_sets + w.n_queries, 0);
    world_end(&w);
}

static void test_growth_cancels_a_shrink(void **state)
{
    struct world w;

    world_start(&w, 1);
    world_resize(&w, 1, GIB(2));
    world_run(&w, SECOND);
    w.guest_follows = false;
    world_resize(&w, 2, GIB(1));
    assert_int_equal(vm_state_committed(&w.s), GIB(2));
    /* The host has nothing left, but this is not given back yet. */
    w.host.available = 0;
    world_forget(&w);
    world_resize(&w, 3, GIB(2));
    assert_int_equal(world_sent(&w, CHANNEL_GRANTED, 0)->requested_size, GIB(2));
    world_run(&w, SECOND);
    assert_int_equal(w.n_sets, 1);
    assert_false(w.s.follow.active);
    world_end(&w);
}

static void test_several_devices(void **state)
{
    struct world w;

    world_start(&w, 2);
    w.qemu_answers = false;
    world_resize(&w, 1, GIB(6));
    assert_int_equal(w.set_device, 0);
    assert_int_equal(w.set_bytes, GIB(4));
    world_answer_set(&w, true);
    assert_int_equal(w.n_sent, 0);
    assert_int_equal(w.set_device, 1);
    assert_int_equal(w.set_bytes, GIB(2));
    world_answer_set(&w, true);
    assert_int_equal(world_sent(&w, CHANNEL_GRANTED, 0)->requested_size, GIB(6));
    world_run(&w, SECOND);
    assert_int_equal(world_sent(&w, CHANNEL_SIZE, 0)->size, GIB(6));
    world_forget(&w);
    world_resize(&w, 2, GIB(5));
    assert_int_equal(w.set_device, 1);
    assert_int_equal(w.set_bytes, GIB(1));
    world_answer_set(&w, true);
    assert_int_equal(w.n_sets, 1);
    world_resize(&w, 3, GIB(3));
    assert_int_equal(w.set_device, 0);
    world_answer_set(&w, true);
    assert_int_equal(w.set_device, 1);
    /* What the first of two has taken is granted, and no more is said than is true. */
    world_answer_set(&w, false);
    assert_int_equal(world_sent(&w, CHANNEL_GRANTED, 1)->requested_size, GIB(4));
    assert_int_equal(w.notes[VM_NOTE_SET_FAILED], 1);
    world_end(&w);
}

static void test_somebody_else(void **state)
{
    struct world w;

    world_start(&w, 1);
    w.qemu[0].requested_size = GIB(1);
    vm_state_size_event(&w.s, w.now);
    world_drain(&w);
    assert_int_equal(w.notes[VM_NOTE_FOREIGN], 1);
    assert_int_equal(world_sent(&w, CHANNEL_SIZE, 0)->requested_size, GIB(1));
    assert_true(w.s.follow.active);
    w.qemu[0].requested_size = 0;
    vm_state_size_event(&w.s, w.now);
    world_drain(&w);
    assert_int_equal(w.notes[VM_NOTE_FOREIGN], 2);
    assert_false(w.s.follow.active);
    world_end(&w);
}

/* The answer to a query that was asked before a set comes behind the set's: it is no news, and old. */
static void test_answers_in_the_wrong_order(void **state)
{
    struct world w;
    struct device_numbers old;

    world_start(&w, 1);
    w.guest_follows = false;
    old = w.qemu[0];
    w.query_held = true;
    vm_state_size_event(&w.s, w.now);
    world_drain(&w);
    world_resize(&w, 1, GIB(1));
    assert_int_equal(world_sent(&w, CHANNEL_GRANTED, 0)->requested_size, GIB(1));
    world_forget(&w);
    vm_state_devices(&w.s, &old, 0, w.now);
    world_drain(&w);
    assert_int_equal(w.notes[VM_NOTE_FOREIGN], 0);
    assert_int_equal(vm_state_requested(&w.s), GIB(1));
    assert_int_equal(vm_state_committed(&w.s), GIB(1));
    assert_int_equal(world_count_sent(&w, CHANNEL_SIZE), 0);
    assert_true(w.s.follow.active);
    /* Asked again at once; that answer is believed. */
    assert_int_equal(w.n_queries, 1);
    w.qemu[0].size = MIB(512);
    vm_state_devices(&w.s, w.qemu, 0, w.now);
    world_drain(&w);
    assert_int_equal(world_sent(&w, CHANNEL_SIZE, 0)->size, MIB(512));
    assert_int_equal(w.n_queries, 1);
    world_end(&w);
}

static void test_reset(void **state)
{
    struct world w;

    world_start(&w, 1);
    world_resize(&w, 1, GIB(2));
    world_run(&w, SECOND);
    world_forget(&w);
    w.qemu_answers = w.guest_follows = false;
    world_resize(&w, 2, GIB(3));
    w.qemu[0].size = 0;
    vm_state_reset_event(&w.s, w.now);
    world_drain(&w);
    world_answer_set(&w, true);
    /* Nothing goes to a guest that is not there, also no answer to its earlier life. */
    world_run(&w, 3 * SECOND);
    assert_int_equal(w.n_sent, 0);
    world_hello(&w);
    assert_int_equal(w.n_sent, 1);
    assert_int_equal(world_sent(&w, CHANNEL_WELCOME, 0)->size, 0);
    assert_int_equal(world_sent(&w, CHANNEL_WELCOME, 0)->requested_size, GIB(3));
    w.qemu[0].size = GIB(3);
    world_run(&w, 2 * SECOND);
    assert_int_equal(world_sent(&w, CHANNEL_SIZE, 0)->size, GIB(3));
    world_end(&w);
}

/* A new hello while a request of the daemon before it is on its way: no answer, but the truth. */
static void test_forgotten_request(void **state)
{
    struct world w;

    world_start(&w, 1);
    w.qemu_answers = false;
    world_resize(&w, 1, GIB(1));
    world_resize(&w, 2, GIB(2));
    world_hello(&w);
    world_answer_set(&w, true);
    assert_int_equal(world_count_sent(&w, CHANNEL_GRANTED), 0);
    assert_int_equal(world_count_sent(&w, CHANNEL_REFUSED), 0);
    assert_int_equal(world_sent(&w, CHANNEL_SIZE, 0)->requested_size, GIB(1));
    assert_false(w.set_open);
    world_end(&w);
}

static void test_silence(void **state)
{
    struct world w;

    world_start(&w, 1);
    for (unsigned i = 0; i < 30; i++) {
        world_run(&w, 10 * SECOND);
        world_say(&w, &(struct channel_message){ .op = CHANNEL_STATS });
    }
    assert_int_equal(w.n_sent, 0);
    world_run(&w, 61 * SECOND);
    assert_int_equal(world_count_sent(&w, CHANNEL_PING), 2);
    world_say(&w, &(struct channel_message){ .op = CHANNEL_PONG, .id = world_sent(&w, CHANNEL_PING, 1)->id });
    assert_int_equal(w.notes[VM_NOTE_SILENT], 0);
    world_run(&w, 600 * SECOND);
    assert_int_equal(w.notes[VM_NOTE_SILENT], 1);
    assert_int_equal(world_count_sent(&w, CHANNEL_PING), 4);
    /* Asked once, and with each of five new connections. */
    assert_int_equal(w.n_reconnects, 5);
    assert_int_equal(world_count_sent(&w, CHANNEL_WHO), 6);
    assert_int_equal(vm_state_deadline(&w.s), USEC_FOREVER);
    world_end(&w);
}

/* The port may be deaf: what is said to the guest arrives, and nothing comes back. */
static void test_unheard(void **state)
{
    struct world w;

    world_connect(&w, 1);
    for (unsigned i = 0; i < 5; i++) {
        world_run(&w, (10 * SECOND << i) - 1);
        assert_int_equal(w.n_reconnects, i);
        world_run(&w, 1);
        assert_int_equal(w.n_reconnects, i + 1);
    }
    world_run(&w, 3600 * SECOND);
    assert_int_equal(w.n_reconnects, 5);
    world_hello(&w);
    world_run(&w, 5 * SECOND);
    assert_int_equal(w.n_reconnects, 5);
    /* Heard once, it is sought again. */
    world_run(&w, 3600 * SECOND);
    assert_int_equal(w.n_reconnects, 10);
    world_end(&w);
}

static void test_unheard_after_a_reset(void **state)
{
    struct world w;

    world_start(&w, 1);
    vm_state_reset_event(&w.s, w.now);
    world_drain(&w);
    world_run(&w, 10 * SECOND);
    assert_int_equal(w.n_reconnects, 1);
    world_end(&w);
}

/* One that is stopped, or may be because QEMU does not say, is let alone, and listened for afresh when it
 * runs. */
static void test_unheard_because_stopped(void **state)
{
    struct world w;

    world_connect(&w, 1);
    vm_state_stopped(&w.s, true, w.now);
    world_drain(&w);
    world_run(&w, 3605 * SECOND);
    assert_int_equal(w.n_reconnects, 0);
    world_qmp_down(&w);
    world_run(&w, 3600 * SECOND);
    assert_int_equal(w.n_reconnects, 0);
    world_qmp_up(&w);
    vm_state_stopped(&w.s, true, w.now);
    world_run(&w, 9 * SECOND);
    vm_state_stopped(&w.s, false, w.now);
    world_drain(&w);
    world_run(&w, 10 * SECOND - 1);
    assert_int_equal(w.n_reconnects, 0);
    world_run(&w, 1);
    assert_int_equal(w.n_reconnects, 1);
    vm_state_guest_noise(&w.s, w.now);
    world_run(&w, 3600 * SECOND);
    assert_int_equal(w.n_reconnects, 1);
    world_end(&w);
}

/* A guest that was greeted stays so over a pause. */
static void test_continued_and_heard(void **state)
{
    struct world w;

    world_start(&w, 1);
    vm_state_stopped(&w.s, true, w.now);
    world_run(&w, 600 * SECOND);
    vm_state_stopped(&w.s, false, w.now);
    world_run_alive(&w, 60 * SECOND);
    assert_int_equal(w.n_reconnects, 0);
    assert_int_equal(w.notes[VM_NOTE_SILENT], 0);
    world_end(&w);
}

static void test_lowered_max(void **state)
{
    struct world w;
    struct vm_settings settings;
    const struct channel_message *m;

    world_start(&w, 1);
    world_resize(&w, 1, GIB(2));
    world_run(&w, SECOND);
    world_forget(&w);
    settings = w.s.settings;
    settings.max_size = GIB(1);
    vm_state_configure(&w.s, &settings, w.now);
    world_drain(&w);
    assert_int_equal(world_sent(&w, CHANNEL_LIMITS, 0)->max_size, GIB(1));
    m = world_sent(&w, CHANNEL_SHRINK, 0);
    assert_non_null(m);
    assert_int_equal(m->size, GIB(1));
    world_say(&w, &(struct channel_message){
                          .op = CHANNEL_DECLINED, .id = m->id + 7, .code = CHANNEL_CODE_IN_USE });
    assert_int_equal(w.notes[VM_NOTE_DECLINED], 0);
    world_say(&w,
            &(struct channel_message){ .op = CHANNEL_DECLINED, .id = m->id, .code = CHANNEL_CODE_IN_USE });
    assert_int_equal(w.notes[VM_NOTE_DECLINED], 1);
    /* It is asked again each minute, may step down, and may not grow. */
    world_run(&w, 59 * SECOND);
    assert_int_equal(world_count_sent(&w, CHANNEL_SHRINK), 1);
    world_run(&w, 2 * SECOND);
    assert_int_equal(world_count_sent(&w, CHANNEL_SHRINK), 2);
    world_resize(&w, 2, GIB(2) + MIB(2));
    world_assert_refused(&w, 2, CHANNEL_CODE_LIMIT);
    world_resize(&w, 3, MIB(1536));
    world_resize(&w, 4, GIB(1));
    assert_int_equal(world_count_sent(&w, CHANNEL_GRANTED), 2);
    world_forget(&w);
    world_run(&w, 20 * SECOND);
    assert_int_equal(world_count_sent(&w, CHANNEL_SHRINK), 0);
    world_end(&w);
}

static void test_min_is_reached_without_a_guest(void **state)
{
    struct world w;

    world_init(&w, 1);
    w.s.settings.min_size = GIB(1);
    w.host.available = GIB(1) + MIB(256);
    world_qmp_up(&w);
    assert_int_equal(w.qemu[0].requested_size, MIB(256));
    w.host.available = GIB(8);
    world_run(&w, 9 * SECOND);
    assert_int_equal(w.qemu[0].requested_size, MIB(256));
    world_run(&w, 2 * SECOND);
    assert_int_equal(w.qemu[0].requested_size, GIB(1));
    assert_int_equal(w.n_sent, 0);
    vm_state_guest_up(&w.s, w.now);
    world_hello(&w);
    world_forget(&w);
    world_resize(&w, 1, MIB(512));
    world_assert_refused(&w, 1, CHANNEL_CODE_LIMIT);
    world_end(&w);
}

/* A guest, a QEMU, a host and a clock without any sense: what must hold holds. */
static void random_step(struct world *w, uint64_t x)
{
    struct device_numbers *d = &w->qemu[x % w->s.settings.n_devices];
    uint64_t before = vm_state_requested(&w->s);

    switch ((x >> 8) % 32) {
    case 0:
        world_qmp_down(w);
        break;
    case 1:
    case 12:
        if (!w->s.qmp_up)
            world_qmp_up(w);
        break;
    case 2:
        vm_state_guest_down(&w->s);
        break;
    case 3:
        if (!w->s.guest_up)
            vm_state_guest_up(&w->s, w->now);
        break;
    case 4:
    case 13:
        world_hello(w);
        break;
    case 5:
        d->size = d->requested_size;
        vm_state_size_event(&w->s, w->now);
        break;
    case 6:
        vm_state_reset_event(&w->s, w->now);
        break;
    case 7:
        vm_state_query_failed(&w->s, w->now);
        break;
    case 8:
        w->host.available = (x >> 16) % GIB(16);
        break;
    case 9:
        w->qemu_answers = x >> 16 & 1;
        w->guest_follows = x >> 17 & 1;
        break;
    case 10:
        if (w->set_open)
            world_answer_set(w, x >> 16 & 1);
        break;
    case 11:
        vm_state_guest_noise(&w->s, w->now);
        break;
    default:
        world_resize(w, x >> 32, MIB(2) * ((x >> 16) % 4200));
        break;
    }
    world_drain(w);
    world_run(w, (x >> 40) % (5 * SECOND));
    if (w->n_sets > 0 && vm_state_requested(&w->s) > before)
        assert_true(vm_state_requested(&w->s) <= GIB(7));
}

static void test_random(void **state)
{
    struct world w;
    uint64_t x = 12345;
    unsigned granted = 0, refused = 0;

    world_init(&w, 2);
    w.s.settings.max_size = GIB(7);
    for (unsigned i = 0; i < 100000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        world_forget(&w);
        random_step(&w, x);
        for (unsigned k = 0; k < w.n_sent; k++) {
            if (w.sent[k].op == CHANNEL_GRANTED)
                assert_true(w.sent[k].requested_size <= GIB(7));
            granted += w.sent[k].op == CHANNEL_GRANTED;
            refused += w.sent[k].op == CHANNEL_REFUSED;
        }
        assert_true(w.s.queue_len <= VM_QUEUE_MAX);
    }
    assert_true(granted > 1000);
    assert_true(refused > 1000);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_kick),
        cmocka_unit_test(test_kick_reports_the_time_without_progress),
        cmocka_unit_test(test_stuck_shrink_is_ended),
        cmocka_unit_test(test_growth_cancels_a_shrink),
        cmocka_unit_test(test_several_devices),
        cmocka_unit_test(test_somebody_else),
        cmocka_unit_test(test_answers_in_the_wrong_order),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_forgotten_request),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_unheard),
        cmocka_unit_test(test_unheard_because_stopped),
        cmocka_unit_test(test_continued_and_heard),
        cmocka_unit_test(test_unheard_after_a_reset),
        cmocka_unit_test(test_lowered_max),
        cmocka_unit_test(test_min_is_reached_without_a_guest),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests_name("vm-follow", tests, NULL, NULL);
}
