/* SPDX-License-Identifier: MIT */
/* Requests of a VM: queue, decision, waiting for room. */
#include "bytes.h"
#include "vm-internal.h"

/* A guest that was refused for memory hears `room` when growth by at least this can be paid for: less than a
 * Linux memory block would have it ask for crumbs. */
#define ROOM_BYTES MIB(128)
/* How often that is looked at: often at first, seldom when it lasts. */
#define ROOM_USEC USEC_PER_SEC
#define ROOM_LONG_USEC (10 * USEC_PER_SEC)
#define ROOM_LONG_AFTER_USEC (60 * USEC_PER_SEC)
/* Growth to the min size is tried again. */
#define MIN_RETRY_USEC (10 * USEC_PER_SEC)

void vm_request_refuse(struct vm_state *s, const struct vm_request *r, enum channel_code code,
        const char *text, const struct grant_host *host)
{
    struct vm_note note = { .type = VM_NOTE_REFUSED, .wanted = r->size, .code = code, .origin = r->origin };
    struct channel_message m = {
        .op = CHANNEL_REFUSED,
        .id = r->id,
        .code = code,
        .max_size = s->known ? vm_state_limits(s).max_size : s->told_max,
    };

    if (host)
        note.host = *host;
    g_strlcpy(note.text, text, sizeof(note.text));
    g_strlcpy(m.text, text, sizeof(m.text));
    if (r->origin == VM_ORIGIN_GUEST)
        vm_tell(s, &m);
    vm_note(s, &note);
}

static bool queue_pop(struct vm_state *s, struct vm_request *ret)
{
    if (s->queue_len == 0)
        return false;
    *ret = s->queue[s->queue_first];
    s->queue_first = (s->queue_first + 1) % VM_QUEUE_MAX;
    s->queue_len--;
    return true;
}

/* There is room: the caller has looked. */
static void queue_push(struct vm_state *s, const struct vm_request *r)
{
    s->queue[(s->queue_first + s->queue_len++) % VM_QUEUE_MAX] = *r;
}

void vm_request_forget(struct vm_state *s)
{
    s->queue_len = 0;
    s->waiting_memory = false;
    s->room_rate_at = USEC_FOREVER;
    if (s->job.active && s->job.request.origin == VM_ORIGIN_GUEST)
        s->job.request.origin = VM_ORIGIN_FORGOTTEN;
}

void vm_request_fail_all(struct vm_state *s, uint64_t now)
{
    struct vm_request r;

    while (queue_pop(s, &r))
        vm_request_refuse(s, &r, CHANNEL_CODE_DEVICE, "QEMU does not answer", NULL);
}

static void refuse_rate(struct vm_state *s, const struct vm_request *r, uint64_t now)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "more than %u requests a second (%u at once)",
            s->settings.request_rate, s->settings.request_burst);
    vm_request_refuse(s, r, CHANNEL_CODE_RATE, text, NULL);
    if (s->room_rate_at == USEC_FOREVER)
        s->room_rate_at = now + bucket_wait(&s->bucket, now);
}

void vm_request_push(struct vm_state *s, const struct channel_message *m, uint64_t now)
{
    struct vm_request r = { .origin = VM_ORIGIN_GUEST, .id = m->id, .size = m->size, .since = now };

    memcpy(r.reason, m->reason, sizeof(r.reason));
    if (!bucket_take(&s->bucket, now))
        refuse_rate(s, &r, now);
    else if (!s->known)
        vm_request_refuse(s, &r, CHANNEL_CODE_DEVICE, "QEMU does not answer", NULL);
    else if (s->queue_len == VM_QUEUE_MAX)
        vm_request_refuse(s, &r, CHANNEL_CODE_BUSY, "16 requests are waiting already", NULL);
    else {
        queue_push(s, &r);
        vm_request_pump(s, now);
    }
}

static bool below_min(const struct vm_state *s)
{
    return s->known && !s->job.active && !vm_life_holds(s) && !s->life.over_held &&
           vm_state_requested(s) < vm_state_limits(s).min_size;
}

void vm_request_pump(struct vm_state *s, uint64_t now)
{
    if (s->job.active || s->budget_pending || !s->known)
        return;
    if (s->queue_len == 0 && below_min(s) && now >= s->min_retry_at) {
        s->min_retry_at = now + MIN_RETRY_USEC;
        queue_push(s, &(struct vm_request){
                              .origin = VM_ORIGIN_MIN,
                              .size = vm_state_limits(s).min_size,
                              .since = now,
                              .reason = "below the min size",
                      });
    }
    if (s->queue_len == 0)
        return;
    s->budget_pending = true;
    vm_act(s, VM_ACTION_BUDGET);
}

static void wait_for_memory(struct vm_state *s, uint64_t missing, uint64_t now)
{
    s->waiting_memory = true;
    s->waiting_since = now;
    s->waiting_bytes = MIN_OF(missing, ROOM_BYTES);
    vm_share_claim(s, missing);
    s->room_check_at = now + ROOM_USEC;
}

/* Refuses what is not to be looked at now. */
static bool is_held(struct vm_state *s, const struct vm_request *r)
{
    char text[256];

    if (vm_life_hold(s, text)) {
        vm_request_refuse(s, r, CHANNEL_CODE_BUSY, text, NULL);
        return true;
    }
    if (!s->life.over_held || r->size <= vm_state_committed(s))
        return false;
    (void)snprintf(text, sizeof(text),
            "QEMU holds %s, more than boot memory and size, %s, account for: no growth until it is less",
            FORMAT_BYTES(s->life.held), FORMAT_BYTES(bytes_add_up(s->boot_size, vm_state_committed(s))));
    vm_request_refuse(s, r, CHANNEL_CODE_LIMIT, text, NULL);
    return true;
}

static void decide(
        struct vm_state *s, const struct vm_request *r, const struct grant_host *host, uint64_t now)
{
    struct grant_limits limits = vm_state_limits(s);
    struct grant_vm vm = { .requested_size = vm_state_requested(s), .committed = vm_state_committed(s) };
    uint64_t targets[DEVICES_MAX];
    struct grant g;

    if (is_held(s, r))
        return;
    grant_decide(&limits, &vm, host, r->size, &g);
    if (g.verdict == GRANT_REFUSED) {
        vm_request_refuse(s, r, g.code, g.text, host);
        if (g.code == CHANNEL_CODE_HOST_MEMORY && r->origin == VM_ORIGIN_GUEST)
            wait_for_memory(s, r->size - vm.committed, now);
        return;
    }
    if (r->origin == VM_ORIGIN_GUEST)
        s->waiting_memory = false;
    devices_plan(s->devices, s->settings.n_devices, g.requested_size, targets);
    vm_job_begin(s, r, host, targets, now);
}

static void check_room(struct vm_state *s, const struct grant_host *host, uint64_t now)
{
    bool long_time = now - s->waiting_since >= ROOM_LONG_AFTER_USEC;

    s->room_check_at = now + (long_time ? ROOM_LONG_USEC : ROOM_USEC);
    if (!s->known || grant_spendable(host) < s->waiting_bytes)
        return;
    s->waiting_memory = false;
    vm_share_told_room(s, now);
    vm_tell(s, &(struct channel_message){ .op = CHANNEL_ROOM });
    vm_note(s, &(struct vm_note){ .type = VM_NOTE_ROOM, .host = *host });
}

void vm_state_budget(struct vm_state *s, const struct grant_host *host, uint64_t now)
{
    struct vm_request r;

    s->budget_pending = false;
    if (s->known && !s->job.active && queue_pop(s, &r))
        decide(s, &r, host, now);
    else if (s->waiting_memory)
        check_room(s, host, now);
    vm_request_pump(s, now);
}

void vm_request_timer(struct vm_state *s, uint64_t now)
{
    if (now >= s->room_rate_at) {
        s->room_rate_at = USEC_FOREVER;
        vm_tell(s, &(struct channel_message){ .op = CHANNEL_ROOM });
    }
    if (s->waiting_memory && now >= s->room_check_at) {
        s->room_check_at = now + ROOM_USEC;
        if (!s->budget_pending) {
            s->budget_pending = true;
            vm_act(s, VM_ACTION_BUDGET);
        }
    }
    vm_request_pump(s, now);
}

uint64_t vm_request_deadline(const struct vm_state *s)
{
    uint64_t deadline = s->room_rate_at;

    if (s->waiting_memory)
        deadline = MIN_OF(deadline, s->room_check_at);
    if (below_min(s))
        deadline = MIN_OF(deadline, s->min_retry_at);
    return deadline;
}
