/* SPDX-License-Identifier: MIT */
#include "vm-state.h"

#include "bytes.h"
#include "vm-internal.h"

/* How long to wait before QEMU is asked again when its numbers were not there or not sane. */
#define RESYNC_MIN_USEC USEC_PER_SEC
#define RESYNC_MAX_USEC (10 * USEC_PER_SEC)

void vm_act(struct vm_state *s, enum vm_action_type type)
{
    g_array_append_vals(s->actions, &(struct vm_action){ .type = type }, 1);
}

void vm_note(struct vm_state *s, const struct vm_note *note)
{
    struct vm_action a = { .type = VM_ACTION_NOTE, .note = *note };

    a.note.size = vm_state_size(s);
    a.note.requested = vm_state_requested(s);
    g_array_append_vals(s->actions, &a, 1);
}

void vm_tell(struct vm_state *s, const struct channel_message *m)
{
    if (s->greeted)
        g_array_append_vals(s->actions, &(struct vm_action){ .type = VM_ACTION_SEND, .message = *m }, 1);
}

void vm_query(struct vm_state *s)
{
    if (!s->qmp_up || s->querying)
        return;
    s->querying = true;
    s->set_since = s->outrun = false;
    vm_act(s, VM_ACTION_QUERY_DEVICES);
}

uint64_t vm_state_size(const struct vm_state *s)
{
    return devices_size(s->devices, s->settings.n_devices);
}

uint64_t vm_state_requested(const struct vm_state *s)
{
    return devices_requested(s->devices, s->settings.n_devices);
}

uint64_t vm_state_committed(const struct vm_state *s)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < s->settings.n_devices; i++)
        sum = bytes_add_up(
                sum, MAX_OF(s->asked[i], MAX_OF(s->devices[i].size, s->devices[i].requested_size)));
    return sum;
}

struct grant_limits vm_state_limits(const struct vm_state *s)
{
    uint64_t block = devices_block(s->devices, s->settings.n_devices), min;
    uint64_t max = MIN_OF(devices_max(s->devices, s->settings.n_devices), s->settings.max_size);

    max = bytes_round_down(max, block);
    if (bytes_round_up(s->settings.min_size, block, &min) < 0 || min > max)
        min = max;
    return (struct grant_limits){ .min_size = min, .max_size = max, .block_size = block };
}

void vm_state_init(struct vm_state *s, const struct vm_settings *settings, uint64_t now)
{
    *s = (struct vm_state){
        .settings = *settings,
        .actions = g_array_new(FALSE, FALSE, sizeof(struct vm_action)),
        .room_rate_at = USEC_FOREVER,
        .resync_delay = RESYNC_MIN_USEC,
    };
    bucket_init(&s->bucket, settings->request_rate, settings->request_burst, now);
}

void vm_state_clear(struct vm_state *s)
{
    if (s->actions)
        g_array_free(s->actions, TRUE);
    s->actions = NULL;
}

void vm_state_configure(struct vm_state *s, const struct vm_settings *settings, uint64_t now)
{
    bool rate = settings->request_rate != s->settings.request_rate ||
                settings->request_burst != s->settings.request_burst;

    /* A new min size does not wait for the next try of the old one. */
    if (s->settings.min_size != settings->min_size)
        s->min_retry_at = now;
    s->settings.min_size = settings->min_size;
    s->settings.max_size = settings->max_size;
    s->settings.weight = settings->weight;
    s->settings.request_rate = settings->request_rate;
    s->settings.request_burst = settings->request_burst;
    s->settings.progress_usec = settings->progress_usec;
    s->settings.stuck_usec = settings->stuck_usec;
    s->settings.held_slack = settings->held_slack;
    if (rate)
        bucket_init(&s->bucket, settings->request_rate, settings->request_burst, now);
    if (!s->known)
        return;
    vm_guest_known(s, now);
    vm_request_pump(s, now);
}

void vm_state_qmp_up(struct vm_state *s, uint64_t now)
{
    s->qmp_up = true;
    s->querying = s->boot_known = false;
    vm_guest_runs(s, now);
    vm_act(s, VM_ACTION_QUERY_SUMMARY);
    vm_query(s);
}

/* QEMU's numbers are not to be believed: nothing is granted until they are. */
static void lose_numbers(struct vm_state *s, uint64_t now)
{
    s->known = s->follow.active = false;
    vm_request_fail_all(s, now);
}

void vm_state_qmp_down(struct vm_state *s, uint64_t now)
{
    if (s->qmp_up)
        s->life.counters.qemu_lost++;
    s->life.stopped = s->life.migrating = s->life.over_held = false;
    s->life.over_since = 0;
    s->qmp_up = s->querying = s->boot_known = false;
    vm_job_fail(s, now);
    lose_numbers(s, now);
}

void vm_state_query_failed(struct vm_state *s, uint64_t now)
{
    s->querying = false;
    s->resync_at = now + s->resync_delay;
    s->resync_delay = MIN_OF(s->resync_delay * 2, RESYNC_MAX_USEC);
    lose_numbers(s, now);
}

void vm_state_summary(struct vm_state *s, uint64_t base_size, uint64_t now)
{
    s->base_size = base_size;
    s->boot_known = true;
}

/* The requested size is not what we know that QEMU was told. */
static bool is_foreign(const struct vm_state *s, const struct device_numbers *d)
{
    for (unsigned i = 0; i < s->settings.n_devices; i++)
        if (d[i].requested_size != s->devices[i].requested_size &&
                (s->asked[i] == 0 || d[i].requested_size != s->asked[i]))
            return true;
    return false;
}

static void note_news(struct vm_state *s, bool was_known, bool foreign, uint64_t was)
{
    if (!was_known)
        vm_note(s, &(struct vm_note){ .type = VM_NOTE_KNOWN });
    else if (foreign)
        vm_note(s, &(struct vm_note){ .type = VM_NOTE_FOREIGN, .was = was });
}

void vm_state_devices(struct vm_state *s, const struct device_numbers *d, uint64_t other, uint64_t now)
{
    uint64_t size = vm_state_size(s), was = vm_state_requested(s);
    bool was_known = s->known, foreign = is_foreign(s, d);

    s->querying = false;
    if (s->outrun) {
        vm_query(s);
        return;
    }
    if (!s->boot_known) {
        vm_state_query_failed(s, now);
        return;
    }
    memcpy(s->devices, d, s->settings.n_devices * sizeof(*d));
    if (!s->job.active)
        memset(s->asked, 0, sizeof(s->asked));
    s->boot_size = bytes_add_up(s->base_size, other);
    s->known = true;
    s->resync_delay = RESYNC_MIN_USEC;
    note_news(s, was_known, foreign, was);
    vm_guest_known(s, now);
    vm_follow_update(s, size != vm_state_size(s) || foreign, now);
    vm_request_pump(s, now);
}

void vm_state_size_event(struct vm_state *s, uint64_t now)
{
    vm_query(s);
}

/* QEMU has unplugged everything and keeps the requested size; the guest's daemons are gone. */
void vm_state_reset_event(struct vm_state *s, uint64_t now)
{
    vm_note(s, &(struct vm_note){ .type = VM_NOTE_RESET });
    s->life.reset_at = now;
    vm_guest_forget(s);
    vm_guest_runs(s, now);
    vm_query(s);
}

static uint64_t resync_deadline(const struct vm_state *s)
{
    return s->qmp_up && !s->known && !s->querying ? s->resync_at : USEC_FOREVER;
}

void vm_state_timer(struct vm_state *s, uint64_t now)
{
    if (now >= resync_deadline(s)) {
        if (!s->boot_known)
            vm_act(s, VM_ACTION_QUERY_SUMMARY);
        vm_query(s);
    }
    vm_life_timer(s, now);
    vm_guest_timer(s, now);
    vm_request_timer(s, now);
    vm_follow_timer(s, now);
}

uint64_t vm_state_deadline(const struct vm_state *s)
{
    uint64_t a = MIN_OF(resync_deadline(s), vm_guest_deadline(s));
    uint64_t b = MIN_OF(vm_request_deadline(s), vm_follow_deadline(s));

    return MIN_OF(MIN_OF(a, b), vm_life_deadline(s));
}
