/* SPDX-License-Identifier: MIT */
/* What a guest says to the host: lines into the VM's state machine, beside an honest QEMU and a host of 4
 * GiB. */
#include "fuzz.h"

#include "bytes.h"
#include "lines.h"
#include "vm-state.h"

#define DEVICE_MAX GIB(8)
#define BLOCK MIB(2)
#define AVAILABLE GIB(4)
#define ACTIONS_MAX 1000u

struct qemu {
    struct vm_state s;
    struct device_numbers device;
    uint64_t now;
};

static void set(struct qemu *q, uint64_t bytes)
{
    FUZZ_CHECK(bytes % BLOCK == 0 && bytes <= DEVICE_MAX);
    FUZZ_CHECK(bytes <= MAX_OF(AVAILABLE, q->device.requested_size));
    q->device.requested_size = q->device.size = bytes;
    vm_state_set_done(&q->s, true, q->now);
}

static void act(struct qemu *q, const struct vm_action *a)
{
    struct grant_host host = { .known = true, .available = AVAILABLE - q->device.size };
    char line[CHANNEL_LINE_MAX];
    size_t n;

    switch (a->type) {
    case VM_ACTION_SEND:
        FUZZ_CHECK(channel_encode(&a->message, line, sizeof(line), &n) == 0);
        return;
    case VM_ACTION_SET:
        FUZZ_CHECK(a->device == 0);
        set(q, a->bytes);
        return;
    case VM_ACTION_QUERY_DEVICES:
        vm_state_devices(&q->s, &q->device, 0, q->now);
        return;
    case VM_ACTION_QUERY_SUMMARY:
        vm_state_summary(&q->s, GIB(1), q->now);
        return;
    case VM_ACTION_BUDGET:
        vm_state_budget(&q->s, &host, q->now);
        return;
    case VM_ACTION_RECONNECT:
        vm_state_guest_down(&q->s);
        vm_state_guest_up(&q->s, q->now);
        return;
    case VM_ACTION_NOTE:
        FUZZ_CHECK(a->note.type >= 0 && a->note.type < _VM_NOTE_MAX);
        return;
    case _VM_ACTION_MAX:
    case _VM_ACTION_INVALID:
        abort();
    }
}

/* One input must not keep the host busy for ever. */
static void drain(struct qemu *q)
{
    for (unsigned i = 0; i < q->s.actions->len; i++) {
        struct vm_action a = g_array_index(q->s.actions, struct vm_action, i);

        act(q, &a);
        FUZZ_CHECK(i < ACTIONS_MAX);
    }
    g_array_set_size(q->s.actions, 0);
}

static void run_timers(struct qemu *q, uint64_t until)
{
    uint64_t due;

    while ((due = vm_state_deadline(&q->s)) <= until) {
        q->now = MAX_OF(q->now, due);
        vm_state_timer(&q->s, q->now);
        drain(q);
        FUZZ_CHECK(vm_state_deadline(&q->s) > q->now);
    }
    q->now = until;
}

static void say(struct qemu *q, const char *line, size_t len)
{
    struct channel_message m;
    struct share_vm share;

    if (channel_decode(line, len, &m) < 0)
        vm_state_guest_noise(&q->s, q->now);
    else
        vm_state_guest_message(&q->s, &m, q->now);
    drain(q);
    FUZZ_CHECK(vm_state_committed(&q->s) <= DEVICE_MAX);
    vm_state_share(&q->s, q->now, &share);
    FUZZ_CHECK(share.spare <= vm_state_requested(&q->s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vm_settings settings = {
        .name = "guest",
        .device = { "vm0" },
        .n_devices = 1,
        .max_size = UINT64_MAX,
        .weight = 100,
        .request_rate = 10,
        .request_burst = 20,
        .progress_usec = 5 * USEC_PER_SEC,
        .stuck_usec = 30 * USEC_PER_SEC,
    };
    struct qemu q = { .device = { .max_size = DEVICE_MAX, .block_size = BLOCK }, .now = USEC_PER_SEC };
    g_autofree char *text = g_memdup2(data, size);
    const char *rest = text, *line;
    char buffer[CHANNEL_LINE_MAX];
    struct lines lines;
    size_t len;
    int r;

    vm_state_init(&q.s, &settings, q.now);
    vm_state_guest_up(&q.s, q.now);
    vm_state_qmp_up(&q.s, q.now);
    drain(&q);
    lines_init(&lines, buffer, sizeof(buffer));
    while (size > 0 && (r = lines_next(&lines, &rest, &size, &line, &len)) != 0) {
        /* The line's length is the time that passes: up to 40 s. */
        run_timers(&q, q.now + (r > 0 ? len : 1) * 10 * USEC_PER_MSEC);
        if (r > 0)
            say(&q, line, len);
    }
    vm_state_guest_down(&q.s);
    drain(&q);
    vm_state_clear(&q.s);
    return 0;
}
