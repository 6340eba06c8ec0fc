/* SPDX-License-Identifier: MIT */
#include "vm-world.h"

void world_answer_set(struct world *w, bool ok)
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
        if (!w->query_held)
            vm_state_devices(&w->s, w->qemu, 0, w->now);
    } else if (a->type == VM_ACTION_QUERY_SUMMARY)
        vm_state_summary(&w->s, GIB(1), w->now);
    else if (a->type == VM_ACTION_BUDGET) {
        w->n_budgets++;
        vm_state_budget(&w->s, &w->host, w->now);
    } else if (a->type == VM_ACTION_RECONNECT) {
        w->n_reconnects++;
        vm_state_guest_down(&w->s);
        vm_state_guest_up(&w->s, w->now);
    } else {
        vm_state_noted(&w->s, &a->note, w->now);
        w->notes[a->note.type]++;
        w->last_note = a->note;
    }
}

void world_drain(struct world *w)
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

void world_forget(struct world *w)
{
    w->n_sent = w->n_queries = w->n_budgets = w->n_sets = 0;
    memset(w->notes, 0, sizeof(w->notes));
}

void world_say(struct world *w, const struct channel_message *m)
{
    vm_state_guest_message(&w->s, m, w->now);
    world_drain(w);
}

void world_run(struct world *w, uint64_t usec)
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

void world_run_alive(struct world *w, uint64_t usec)
{
    for (uint64_t done = 0; done < usec; done += 10 * SECOND) {
        world_say(w, &(struct channel_message){ .op = CHANNEL_STATS });
        world_run(w, 10 * SECOND);
    }
}

void world_init(struct world *w, unsigned n_devices)
{
    struct vm_settings settings = {
        .name = "guest1",
        .n_devices = n_devices,
        .max_size = UINT64_MAX,
        .request_rate = 10,
        .request_burst = 20,
        .progress_usec = 5 * SECOND,
        .stuck_usec = 30 * SECOND,
        .held_slack = MIB(512),
    };

    memset(w, 0, sizeof(*w));
    w->now = 1000 * SECOND;
    w->host = (struct grant_host){ true, GIB(64), GIB(1), 0, 0 };
    w->qemu_answers = w->guest_follows = true;
    for (unsigned i = 0; i < n_devices; i++)
        w->qemu[i] = (struct device_numbers){ .max_size = GIB(4), .block_size = MIB(2) };
    vm_state_init(&w->s, &settings, w->now);
}

void world_hello(struct world *w)
{
    world_say(w, &(struct channel_message){ .op = CHANNEL_HELLO, .version = 1, .agent = "test" });
}

void world_resize(struct world *w, uint64_t id, uint64_t size)
{
    world_say(w, &(struct channel_message){ .op = CHANNEL_RESIZE, .id = id, .size = size, .reason = "test" });
}

void world_qmp_up(struct world *w)
{
    vm_state_qmp_up(&w->s, w->now);
    world_drain(w);
}

void world_qmp_down(struct world *w)
{
    w->set_open = false;
    vm_state_qmp_down(&w->s, w->now);
    world_drain(w);
}

void world_connect(struct world *w, unsigned n_devices)
{
    world_init(w, n_devices);
    world_qmp_up(w);
    vm_state_guest_up(&w->s, w->now);
    world_drain(w);
}

void world_start(struct world *w, unsigned n_devices)
{
    world_connect(w, n_devices);
    world_hello(w);
    world_forget(w);
}

void world_end(struct world *w)
{
    vm_state_clear(&w->s);
}

const struct channel_message *world_sent(const struct world *w, enum channel_op op, unsigned skip)
{
    for (unsigned i = 0; i < w->n_sent; i++)
        if (w->sent[i].op == op && skip-- == 0)
            return &w->sent[i];
    return NULL;
}

unsigned world_count_sent(const struct world *w, enum channel_op op)
{
    unsigned n = 0;

    for (unsigned i = 0; i < w->n_sent; i++)
        n += w->sent[i].op == op;
    return n;
}

void world_assert_refused(const struct world *w, uint64_t id, enum channel_code code)
{
    for (unsigned i = 0; i < w->n_sent; i++)
        if (w->sent[i].op == CHANNEL_REFUSED && w->sent[i].id == id) {
            assert_int_equal(w->sent[i].code, code);
            assert_true(w->sent[i].text[0] != '\0');
            return;
        }
    fail_msg("request %u was not refused", (unsigned)id);
}
