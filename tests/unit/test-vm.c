/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "bytes.h"
#include "vm-state.h"

#define SENT_MAX 256u
#define SECOND USEC_PER_SEC

/* A VM with a QEMU and a host whose answers the test gives, or which answer by themselves. */
struct world {
    struct vm_state s;
    uint64_t now;
    struct grant_host host;
    struct device_numbers qemu[DEVICES_MAX]; /* QEMU's own */
    bool qemu_answers;                       /* qom-set at once */
    bool guest_follows;                      /* the size is the requested size at once */

    struct channel_message sent[SENT_MAX]; /* since world_forget() */
    unsigned n_sent;
    unsigned n_queries;
    unsigned n_budgets;
    unsigned notes[_VM_NOTE_MAX];
    struct vm_note last_note;
    bool set_open; /* a qom-set without an answer yet */
    unsigned set_device;
    uint64_t set_bytes;
    unsigned n_sets;
};

static void world_drain(struct world *w);

static void world_answer_set(struct world *w, bool ok)
{
    assert_true(w->set_open);
    w->set_open = false;
    if (ok) {
        w->qemu[w->set_device].requested_size = w->set_bytes;
        if (w->guest_follows)
            w->qemu[w->set_device].size = w->set_bytes;
    }
    vm_state_set_done(&w->s, ok, w->now);
    world_drain(w);
}

static void world_set(struct world *w, const struct vm_action *a)
{
    assert_false(w->set_open);
    assert_true(a->device < w->s.settings.n_devices);
    assert_int_equal(a->bytes % w->qemu[a->device].block_size, 0);
    assert_true(a->bytes <= w->qemu[a->device].max_size);
    w->set_open = true;
    w->set_device = a->device;
    w->set_bytes = a->bytes;
    w->n_sets++;
    if (w->qemu_answers)
        world_answer_set(w, true);
}

static void world_act(struct world *w, const struct vm_action *a)
{
    if (a->type == VM_ACTION_SEND) {
        assert_true(w->n_sent < SENT_MAX);
        w->sent[w->n_sent++] = a->message;
    } else if (a->type == VM_ACTION_SET)
        world_set(w, a);
    else if (a->type == VM_ACTION_QUERY_DEVICES) {
        w->n_queries++;
        vm_state_devices(&w->s, w->qemu, 0, w->now);
    } else if (a->type == VM_ACTION_QUERY_SUMMARY)
        vm_state_summary(&w->s, GIB(1), w->now);
    else if (a->type == VM_ACTION_BUDGET) {
        w->n_budgets++;
        vm_state_budget(&w->s, &w->host, w->now);
    } else {
        w->notes[a->note.type]++;
        w->last_note = a->note;
    }
}

/* As vm.c does, without a bus or a socket. */
static void world_drain(struct world *w)
{
    for (unsigned i = 0; i < w->s.actions->len; i++) {
        struct vm_action a = g_array_index(w->s.actions, struct vm_action, i);

        if (a.type == _VM_ACTION_MAX)
            continue;
        g_array_index(w->s.actions, struct vm_action, i).type = _VM_ACTION_MAX;
        world_act(w, &a);
    }
    g_array_set_size(w->s.actions, 0);
}

static void world_forget(struct world *w)
{
    w->n_sent = w->n_queries = w->n_budgets = w->n_sets = 0;
    memset(w->notes, 0, sizeof(w->notes));
}

static void world_say(struct world *w, const struct channel_message *m)
{
    vm_state_guest_message(&w->s, m, w->now);
    world_drain(w);
}

/* Turns the clock to each deadline on the way. */
static void world_run(struct world *w, uint64_t usec)
{
    uint64_t end = w->now + usec, deadline;

    while ((deadline = vm_state_deadline(&w->s)) <= end) {
        w->now = MAX_OF(w->now, deadline);
        vm_state_timer(&w->s, w->now);
        world_drain(w);
        /* A timer that is due again at once would hold the loop. */
        assert_true(vm_state_deadline(&w->s) > w->now);
    }
    w->now = end;
}

/* The same with a guest that shows that it is there. */
static void world_run_alive(struct world *w, uint64_t usec)
{
    for (uint64_t done = 0; done < usec; done += 10 * SECOND) {
        world_say(w, &(struct channel_message){ .op = CHANNEL_STATS });
        world_run(w, 10 * SECOND);
    }
}

static void world_init(struct world *w, unsigned n_devices)
{
    struct vm_settings settings = {
        .name = "guest1",
        .n_devices = n_devices,
        .max_size = UINT64_MAX,
        .request_rate = 10,
        .request_burst = 20,
        .progress_usec = 5 * SECOND,
        .stuck_usec = 30 * SECOND,
    };

    memset(w, 0, sizeof(*w));
    w->now = 1000 * SECOND;
    w->host = (struct grant_host){ true, GIB(64), GIB(1), 0 };
    w->qemu_answers = w->guest_follows = true;
    for (unsigned i = 0; i < n_devices; i++)
        w->qemu[i] = (struct device_numbers){ .max_size = GIB(4), .block_size = MIB(2) };
    vm_state_init(&w->s, &settings, w->now);
}

static void world_hello(struct world *w)
{
    world_say(w, &(struct channel_message){ .op = CHANNEL_HELLO, .version = 1, .agent = "test" });
}

static void world_resize(struct world *w, uint64_t id, uint64_t size)
{
    world_say(w, &(struct channel_message){ .op = CHANNEL_RESIZE, .id = id, .size = size, .reason = "test" });
}

static void world_qmp_up(struct world *w)
{
    vm_state_qmp_up(&w->s, w->now);
    world_drain(w);
}

static void world_qmp_down(struct world *w)
{
    w->set_open = false;
    vm_state_qmp_down(&w->s, w->now);
    world_drain(w);
}

/* Both sides there, nothing plugged. */
static void world_start(struct world *w, unsigned n_devices)
{
    world_init(w, n_devices);
    world_qmp_up(w);
    vm_state_guest_up(&w->s, w->now);
    world_drain(w);
    world_hello(w);
    world_forget(w);
}

static void world_end(struct world *w)
{
    vm_state_clear(&w->s);
}

static const struct channel_message *sent(const struct world *w, enum channel_op op, unsigned skip)
{
    for (unsigned i = 0; i < w->n_sent; i++)
        if (w->sent[i].op == op && skip-- == 0)
            return &w->sent[i];
    return NULL;
}

static unsigned count_sent(const struct world *w, enum channel_op op)
{
    unsigned n = 0;

    for (unsigned i = 0; i < w->n_sent; i++)
        n += w->sent[i].op == op;
    return n;
}

static void assert_refused(const struct world *w, uint64_t id, enum channel_code code)
{
    for (unsigned i = 0; i < w->n_sent; i++)
        if (w->sent[i].op == CHANNEL_REFUSED && w->sent[i].id == id) {
            assert_int_equal(w->sent[i].code, code);
            assert_true(w->sent[i].text[0] != '\0');
            return;
        }
    fail_msg("request %u was not refused", (unsigned)id);
}

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
    m = sent(&w, CHANNEL_WELCOME, 0);
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
    assert_int_equal(count_sent(&w, CHANNEL_WELCOME), 2);
    world_end(&w);
}

static void test_strangers_are_greeted_again(void **state)
{
    struct world w;

    world_init(&w, 1);
    world_qmp_up(&w);
    vm_state_guest_up(&w.s, w.now);
    world_drain(&w);
    world_forget(&w);
    world_resize(&w, 1, GIB(1));
    assert_refused(&w, 1, CHANNEL_CODE_INVALID);
    assert_int_equal(w.n_sets, 0);
    world_say(&w, &(struct channel_message){ .op = CHANNEL_STATS });
    vm_state_guest_noise(&w.s, w.now);
    assert_int_equal(count_sent(&w, CHANNEL_WHO), 0);
    /* Once a second, not for each line. */
    world_run(&w, 3 * SECOND);
    assert_int_equal(count_sent(&w, CHANNEL_WHO), 1);
    world_say(&w, &(struct channel_message){ .op = CHANNEL_PING, .id = 9 });
    assert_int_equal(sent(&w, CHANNEL_PONG, 0)->id, 9);
    /* A version that is not ours is told so, and gets nothing. */
    world_say(&w, &(struct channel_message){ .op = CHANNEL_HELLO, .version = 2 });
    assert_int_equal(count_sent(&w, CHANNEL_ERROR), 1);
    assert_int_equal(count_sent(&w, CHANNEL_WELCOME), 0);
    world_hello(&w);
    assert_int_equal(count_sent(&w, CHANNEL_WELCOME), 1);
    assert_int_equal(count_sent(&w, CHANNEL_WHO), 1);
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
    assert_int_equal(count_sent(&w, CHANNEL_SIZE), 1);
    assert_int_equal(sent(&w, CHANNEL_SIZE, 0)->size, GIB(1));
    /* What QEMU has already is granted without asking it. */
    world_forget(&w);
    world_resize(&w, 6, GIB(1));
    assert_int_equal(sent(&w, CHANNEL_GRANTED, 0)->requested_size, GIB(1));
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
    assert_refused(&w, 1, CHANNEL_CODE_DEVICE);
    assert_int_equal(w.notes[VM_NOTE_SET_FAILED], 1);
    assert_int_equal(w.n_queries, 1);
    assert_int_equal(vm_state_committed(&w.s), 0);

    /* A second one waits when QEMU goes away; both are refused, and the first counts until QEMU says
     * otherwise. */
    world_forget(&w);
    world_resize(&w, 2, GIB(1));
    world_resize(&w, 3, GIB(2));
    world_qmp_down(&w);
    assert_refused(&w, 2, CHANNEL_CODE_DEVICE);
    assert_refused(&w, 3, CHANNEL_CODE_DEVICE);
    assert_int_equal(count_sent(&w, CHANNEL_GRANTED), 0);
    assert_int_equal(vm_state_committed(&w.s), GIB(1));
    world_resize(&w, 4, GIB(1));
    assert_refused(&w, 4, CHANNEL_CODE_DEVICE);
    world_run(&w, 20 * SECOND);
    world_forget(&w);
    w.qemu[0].requested_size = GIB(1); /* it had done it */
    world_qmp_up(&w);
    assert_int_equal(sent(&w, CHANNEL_SIZE, 0)->requested_size, GIB(1));
    assert_int_equal(w.notes[VM_NOTE_FOREIGN], 0);
    world_end(&w);
}

static void test_numbers_that_cannot_be(void **state)
{
    struct world w;

    world_start(&w, 1);
    vm_state_query_failed(&w.s, w.now);
    world_resize(&w, 1, GIB(1));
    assert_refused(&w, 1, CHANNEL_CODE_DEVICE);
    assert_int_equal(w.n_sets, 0);
    /* QEMU is asked again, and then all is well. */
    world_run(&w, 2 * SECOND);
    assert_int_equal(w.n_queries, 1);
    assert_int_equal(w.notes[VM_NOTE_KNOWN], 1);
    world_resize(&w, 2, GIB(1));
    assert_int_equal(count_sent(&w, CHANNEL_GRANTED), 1);
    world_end(&w);
}

static void test_rate(void **state)
{
    struct world w;

    world_start(&w, 1);
    for (unsigned i = 0; i < 25; i++)
        world_resize(&w, i, MIB(2) * (i + 1));
    assert_int_equal(count_sent(&w, CHANNEL_GRANTED), 20);
    assert_int_equal(count_sent(&w, CHANNEL_REFUSED), 5);
    assert_refused(&w, 20, CHANNEL_CODE_RATE);
    assert_non_null(strstr(sent(&w, CHANNEL_REFUSED, 0)->text, "10 requests a second"));
    /* One room, when there is a token. */
    world_run(&w, 99 * USEC_PER_MSEC);
    assert_int_equal(count_sent(&w, CHANNEL_ROOM), 0);
    world_run(&w, SECOND);
    assert_int_equal(count_sent(&w, CHANNEL_ROOM), 1);
    /* Shrinks count too. */
    world_forget(&w);
    for (unsigned i = 0; i < 20; i++)
        world_resize(&w, i, MIB(2));
    assert_int_equal(count_sent(&w, CHANNEL_GRANTED), 10);
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
    assert_refused(&w, 17, CHANNEL_CODE_BUSY);
    for (unsigned i = 0; i < 17; i++)
        world_answer_set(&w, true);
    assert_int_equal(count_sent(&w, CHANNEL_GRANTED), 17);
    for (unsigned i = 0; i < 17; i++) {
        assert_int_equal(sent(&w, CHANNEL_GRANTED, i)->id, i);
        assert_int_equal(sent(&w, CHANNEL_GRANTED, i)->requested_size, MIB(2) * (i + 1));
    }
    world_end(&w);
}

static void test_host_memory(void **state)
{
    struct world w;

    world_start(&w, 1);
    w.host.available = GIB(1) + MIB(300);
    world_resize(&w, 1, GIB(1));
    assert_int_equal(sent(&w, CHANNEL_GRANTED, 0)->requested_size, MIB(300));
    w.host.available = GIB(1);
    world_resize(&w, 2, GIB(1));
    assert_refused(&w, 2, CHANNEL_CODE_HOST_MEMORY);
    assert_int_equal(sent(&w, CHANNEL_REFUSED, 0)->max_size, GIB(4));
    /* Looked at once a second, later every 10 s; crumbs are no room. */
    world_forget(&w);
    w.host.available = GIB(1) + MIB(64);
    world_run_alive(&w, 60 * SECOND);
    assert_in_range(w.n_budgets, 59, 61);
    world_run_alive(&w, 100 * SECOND);
    assert_in_range(w.n_budgets, 69, 72);
    assert_int_equal(count_sent(&w, CHANNEL_ROOM), 0);
    w.host.available = GIB(2);
    world_run_alive(&w, 10 * SECOND);
    assert_int_equal(count_sent(&w, CHANNEL_ROOM), 1);
    /* Once, and nobody looks any more. */
    world_forget(&w);
    world_run_alive(&w, 60 * SECOND);
    assert_int_equal(count_sent(&w, CHANNEL_ROOM), 0);
    assert_int_equal(w.n_budgets, 0);
    world_end(&w);
}

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
    assert_int_equal(count_sent(&w, CHANNEL_SIZE), 0);
    world_forget(&w);
    world_run(&w, 3 * SECOND);
    assert_in_range(w.n_queries, 2, 4);
    /* Each change is told once, by the event's query too. */
    world_forget(&w);
    w.qemu[0].size = MIB(512);
    vm_state_size_event(&w.s, w.now);
    world_drain(&w);
    assert_int_equal(sent(&w, CHANNEL_SIZE, 0)->size, MIB(512));
    vm_state_size_event(&w.s, w.now);
    world_drain(&w);
    assert_int_equal(count_sent(&w, CHANNEL_SIZE), 1);
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
    /* Asking for the same again is no progress. */
    world_run(&w, 4 * SECOND);
    world_resize(&w, 2, GIB(1));
    world_run(&w, SECOND - 1);
    assert_int_equal(w.n_sets, 0);
    world_run(&w, 1);
    assert_int_equal(w.n_sets, 1);
    assert_int_equal(w.set_bytes, GIB(1));
    assert_int_equal(w.notes[VM_NOTE_KICK], 1);
    assert_int_equal(count_sent(&w, CHANNEL_GRANTED), 1);
    /* Less and less often; growth is never taken back. */
    world_run(&w, 595 * SECOND);
    assert_in_range(w.n_sets, 10, 14);
    assert_int_equal(w.set_bytes, GIB(1));
    /* Progress begins anew. */
    w.qemu[0].size = MIB(128);
    vm_state_size_event(&w.s, w.now);
    world_drain(&w);
    world_forget(&w);
    world_run(&w, 5 * SECOND);
    assert_int_equal(w.n_sets, 1);
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
    assert_int_equal(count_sent(&w, CHANNEL_SIZE), 1);
    assert_int_equal(sent(&w, CHANNEL_SIZE, 0)->requested_size, MIB(1536));
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
    assert_int_equal(sent(&w, CHANNEL_GRANTED, 0)->requested_size, GIB(2));
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
    assert_int_equal(sent(&w, CHANNEL_GRANTED, 0)->requested_size, GIB(6));
    world_run(&w, SECOND);
    assert_int_equal(sent(&w, CHANNEL_SIZE, 0)->size, GIB(6));
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
    assert_int_equal(sent(&w, CHANNEL_GRANTED, 1)->requested_size, GIB(4));
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
    assert_int_equal(sent(&w, CHANNEL_SIZE, 0)->requested_size, GIB(1));
    assert_true(w.s.follow.active);
    w.qemu[0].requested_size = 0;
    vm_state_size_event(&w.s, w.now);
    world_drain(&w);
    assert_int_equal(w.notes[VM_NOTE_FOREIGN], 2);
    assert_false(w.s.follow.active);
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
    assert_int_equal(sent(&w, CHANNEL_WELCOME, 0)->size, 0);
    assert_int_equal(sent(&w, CHANNEL_WELCOME, 0)->requested_size, GIB(3));
    w.qemu[0].size = GIB(3);
    world_run(&w, 2 * SECOND);
    assert_int_equal(sent(&w, CHANNEL_SIZE, 0)->size, GIB(3));
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
    assert_int_equal(count_sent(&w, CHANNEL_GRANTED), 0);
    assert_int_equal(count_sent(&w, CHANNEL_REFUSED), 0);
    assert_int_equal(sent(&w, CHANNEL_SIZE, 0)->requested_size, GIB(1));
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
    assert_int_equal(count_sent(&w, CHANNEL_PING), 2);
    world_say(&w, &(struct channel_message){ .op = CHANNEL_PONG, .id = sent(&w, CHANNEL_PING, 1)->id });
    assert_int_equal(w.notes[VM_NOTE_SILENT], 0);
    world_run(&w, 600 * SECOND);
    assert_int_equal(w.notes[VM_NOTE_SILENT], 1);
    assert_int_equal(count_sent(&w, CHANNEL_PING), 4);
    assert_int_equal(count_sent(&w, CHANNEL_WHO), 1);
    assert_int_equal(vm_state_deadline(&w.s), USEC_FOREVER);
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
    assert_int_equal(sent(&w, CHANNEL_LIMITS, 0)->max_size, GIB(1));
    m = sent(&w, CHANNEL_SHRINK, 0);
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
    assert_int_equal(count_sent(&w, CHANNEL_SHRINK), 1);
    world_run(&w, 2 * SECOND);
    assert_int_equal(count_sent(&w, CHANNEL_SHRINK), 2);
    world_resize(&w, 2, GIB(2) + MIB(2));
    assert_refused(&w, 2, CHANNEL_CODE_LIMIT);
    world_resize(&w, 3, MIB(1536));
    world_resize(&w, 4, GIB(1));
    assert_int_equal(count_sent(&w, CHANNEL_GRANTED), 2);
    world_forget(&w);
    world_run(&w, 20 * SECOND);
    assert_int_equal(count_sent(&w, CHANNEL_SHRINK), 0);
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
    assert_refused(&w, 1, CHANNEL_CODE_LIMIT);
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
        cmocka_unit_test(test_greeting),
        cmocka_unit_test(test_strangers_are_greeted_again),
        cmocka_unit_test(test_granted_after_qemus_answer),
        cmocka_unit_test(test_qemu_that_refuses_or_dies),
        cmocka_unit_test(test_numbers_that_cannot_be),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_host_memory),
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_kick),
        cmocka_unit_test(test_stuck_shrink_is_ended),
        cmocka_unit_test(test_growth_cancels_a_shrink),
        cmocka_unit_test(test_several_devices),
        cmocka_unit_test(test_somebody_else),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_forgotten_request),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_lowered_max),
        cmocka_unit_test(test_min_is_reached_without_a_guest),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests_name("vm", tests, NULL, NULL);
}
