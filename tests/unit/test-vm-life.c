/* SPDX-License-Identifier: MIT */
#include "vm-world.h"

#include "vm-view.h"

static enum vm_life life(const struct world *w)
{
    return vm_state_life(&w->s, w->now);
}

static void test_names(void **state)
{
    for (int i = 0; i < _VM_LIFE_MAX; i++)
        assert_non_null(vm_life_to_string((enum vm_life)i));
    assert_null(vm_life_to_string(_VM_LIFE_MAX));
    assert_null(vm_life_to_string(_VM_LIFE_INVALID));
}

/* Each state is reached, and left again. */
static void test_the_way_through_a_life(void **state)
{
    struct world w;

    world_init(&w, 1);
    assert_int_equal(life(&w), VM_LIFE_NO_QEMU);
    vm_state_qmp_up(&w.s, w.now);
    assert_int_equal(life(&w), VM_LIFE_NO_NUMBERS);
    world_drain(&w);
    assert_int_equal(life(&w), VM_LIFE_NO_GUEST);
    vm_state_guest_up(&w.s, w.now);
    world_drain(&w);
    assert_int_equal(life(&w), VM_LIFE_NO_GUEST);
    world_hello(&w);
    assert_int_equal(life(&w), VM_LIFE_IDLE);
    w.guest_follows = false;
    world_resize(&w, 1, GIB(1));
    assert_int_equal(life(&w), VM_LIFE_PLUGGING);
    world_run_alive(&w, 40 * SECOND);
    assert_int_equal(life(&w), VM_LIFE_STUCK);
    w.guest_follows = true;
    world_resize(&w, 2, GIB(2));
    world_run_alive(&w, 10 * SECOND);
    assert_int_equal(life(&w), VM_LIFE_IDLE);
    w.guest_follows = false;
    world_resize(&w, 3, GIB(1));
    assert_int_equal(life(&w), VM_LIFE_UNPLUGGING);
    vm_state_reset_event(&w.s, w.now);
    world_drain(&w);
    assert_int_equal(life(&w), VM_LIFE_RESETTING);
    world_run(&w, 121 * SECOND);
    assert_int_equal(life(&w), VM_LIFE_NO_GUEST);
    world_hello(&w);
    assert_int_not_equal(life(&w), VM_LIFE_NO_GUEST);
    world_qmp_down(&w);
    assert_int_equal(life(&w), VM_LIFE_NO_QEMU);
    world_end(&w);
}

/* Nothing moves, nobody is taken for silent, and a shrink is not ended for it. */
static void test_stopped(void **state)
{
    struct world w;

    world_start(&w, 1);
    world_resize(&w, 1, GIB(2));
    w.guest_follows = false;
    world_resize(&w, 2, GIB(1));
    vm_state_stopped(&w.s, true, w.now);
    world_drain(&w);
    assert_int_equal(life(&w), VM_LIFE_PAUSED);
    assert_int_equal(w.notes[VM_NOTE_STOPPED], 1);
    world_forget(&w);
    world_run(&w, 600 * SECOND);
    assert_int_equal(world_count_sent(&w, CHANNEL_PING), 0);
    assert_int_equal(w.notes[VM_NOTE_SILENT], 0);
    vm_state_stopped(&w.s, false, w.now);
    world_drain(&w);
    assert_int_equal(w.notes[VM_NOTE_RUNS], 1);
    assert_int_not_equal(life(&w), VM_LIFE_PAUSED);
    world_end(&w);
}

static void test_migration_refuses_and_ends(void **state)
{
    struct world w;

    world_start(&w, 1);
    vm_state_migrating(&w.s, true, w.now);
    world_drain(&w);
    assert_int_equal(life(&w), VM_LIFE_MIGRATING);
    world_forget(&w);
    world_resize(&w, 1, GIB(1));
    world_assert_refused(&w, 1, CHANNEL_CODE_BUSY);
    assert_int_equal(w.n_sets, 0);
    vm_state_migrating(&w.s, false, w.now);
    world_drain(&w);
    assert_int_equal(w.notes[VM_NOTE_MIGRATED], 1);
    world_resize(&w, 2, GIB(1));
    assert_int_equal(w.n_sets, 1);
    /* Its QEMU leaves in the middle: the next one begins anew. */
    vm_state_migrating(&w.s, true, w.now);
    world_qmp_down(&w);
    world_qmp_up(&w);
    assert_int_not_equal(life(&w), VM_LIFE_MIGRATING);
    world_end(&w);
}

static void test_over_held(void **state)
{
    struct world w;
    uint64_t bound;

    world_start(&w, 1);
    world_resize(&w, 1, GIB(1));
    bound = GIB(2) + MIB(512); /* boot memory, size and slack */
    vm_state_held(&w.s, bound, w.now);
    world_run_alive(&w, 20 * SECOND);
    vm_state_held(&w.s, bound, w.now);
    assert_int_equal(life(&w), VM_LIFE_IDLE);
    /* A moment over is a race with an unplug. */
    vm_state_held(&w.s, bound + 1, w.now);
    assert_int_equal(life(&w), VM_LIFE_IDLE);
    world_run_alive(&w, 10 * SECOND);
    vm_state_held(&w.s, bound + 1, w.now);
    vm_state_held(&w.s, bound + 1, w.now);
    world_drain(&w);
    assert_int_equal(life(&w), VM_LIFE_OVER_HELD);
    assert_int_equal(w.notes[VM_NOTE_OVER_HELD], 1);
    world_forget(&w);
    world_resize(&w, 2, GIB(2));
    world_assert_refused(&w, 2, CHANNEL_CODE_LIMIT);
    assert_int_equal(w.n_sets, 0);
    /* It may give back, which does not mend it by itself. */
    world_resize(&w, 3, MIB(512));
    assert_int_equal(w.n_sets, 1);
    world_run_alive(&w, 10 * SECOND);
    vm_state_held(&w.s, GIB(2), w.now);
    world_drain(&w);
    assert_int_equal(life(&w), VM_LIFE_IDLE);
    assert_int_equal(w.notes[VM_NOTE_HELD_WELL], 1);
    world_resize(&w, 4, GIB(1));
    assert_int_equal(w.n_sets, 2);
    world_end(&w);
}

static void test_pause(void **state)
{
    struct vm_view v;
    struct world w;

    world_start(&w, 1);
    world_resize(&w, 1, GIB(1));
    vm_state_pause(&w.s, "backup", 60 * SECOND, w.now);
    world_drain(&w);
    vm_state_view(&w.s, w.now, &v);
    assert_int_equal(v.paused_until, w.now + 60 * SECOND);
    assert_string_equal(v.pause_reason, "backup");
    world_forget(&w);
    world_resize(&w, 2, GIB(2));
    world_assert_refused(&w, 2, CHANNEL_CODE_BUSY);
    world_resize(&w, 3, 0);
    world_assert_refused(&w, 3, CHANNEL_CODE_BUSY);
    world_run_alive(&w, 60 * SECOND);
    assert_int_equal(w.notes[VM_NOTE_RESUMED], 1);
    world_resize(&w, 4, GIB(2));
    assert_int_equal(w.n_sets, 1);
    /* Without an end, until it is ended; below its min size meanwhile. */
    vm_state_pause(&w.s, "", USEC_FOREVER, w.now);
    w.s.settings.min_size = GIB(3);
    vm_state_configure(&w.s, &w.s.settings, w.now);
    world_run_alive(&w, 3600 * SECOND);
    assert_int_equal(w.n_sets, 1);
    vm_state_resume(&w.s, w.now);
    vm_state_resume(&w.s, w.now);
    world_drain(&w);
    assert_int_equal(w.notes[VM_NOTE_RESUMED], 2);
    assert_int_equal(vm_state_requested(&w.s), GIB(3));
    world_end(&w);
}

static void test_answers_and_counters(void **state)
{
    struct vm_view v;
    struct world w;

    world_start(&w, 1);
    world_resize(&w, 1, GIB(1));
    w.host.available = GIB(1);
    w.now += SECOND;
    world_resize(&w, 2, GIB(4));
    vm_state_guest_noise(&w.s, w.now);
    vm_state_view(&w.s, w.now, &v);
    assert_int_equal(v.last_grant->time, w.now - SECOND);
    assert_int_equal(v.last_grant->size, GIB(1));
    assert_string_equal(v.last_grant->text, "test");
    assert_int_equal(v.last_refusal->time, w.now);
    assert_int_equal(v.last_refusal->size, GIB(4));
    assert_int_equal(v.last_refusal->code, CHANNEL_CODE_HOST_MEMORY);
    assert_int_equal(v.counters->grants, 1);
    assert_int_equal(v.counters->refusals[CHANNEL_CODE_HOST_MEMORY], 1);
    assert_int_equal(v.counters->bad_lines, 1);
    assert_int_equal(v.counters->qemu_lost, 0);
    assert_string_equal(v.agent, "test");
    world_qmp_down(&w);
    world_qmp_down(&w);
    assert_int_equal(v.counters->qemu_lost, 1);
    world_end(&w);
}

/* What a guest said of itself is shown while it is there. */
static void test_a_guest_that_has_left_says_nothing(void **state)
{
    struct channel_message m = {
        .op = CHANNEL_STATS,
        .available = MIB(300),
        .total = GIB(1),
        .level = CHANNEL_LEVEL_RISING,
    };
    struct vm_view v;
    struct world w;

    world_start(&w, 1);
    world_say(&w, &m);
    vm_state_view(&w.s, w.now, &v);
    assert_int_equal(v.stats.available, MIB(300));
    assert_int_not_equal(v.stats.time, 0);
    vm_state_guest_down(&w.s);
    vm_state_view(&w.s, w.now, &v);
    assert_int_equal(v.stats.available, 0);
    assert_int_equal(v.stats.time, 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_the_way_through_a_life),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_migration_refuses_and_ends),
        cmocka_unit_test(test_over_held),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_answers_and_counters),
        cmocka_unit_test(test_a_guest_that_has_left_says_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
