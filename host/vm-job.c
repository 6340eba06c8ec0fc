/* SPDX-License-Identifier: MIT */
/* A change of requested sizes: one qom-set after the other, and the answer after the last one. */
#include "vm-internal.h"

static bool wants_set(const struct vm_state *s, unsigned i)
{
    const struct device_numbers *d = &s->devices[i];

    if (s->job.request.origin == VM_ORIGIN_KICK)
        return d->size != d->requested_size;
    return s->job.targets[i] != d->requested_size;
}

static void tell_granted(struct vm_state *s, const struct vm_job *job, uint64_t now)
{
    uint64_t total = vm_state_requested(s);
    struct vm_note note = {
        .type = VM_NOTE_GRANTED,
        .wanted = job->request.size,
        .was = job->was,
        .origin = job->request.origin,
        .host = job->host,
        .usec = now - job->request.since,
    };

    g_strlcpy(note.text, job->request.reason, sizeof(note.text));
    vm_note(s, &note);
    if (job->request.origin != VM_ORIGIN_GUEST)
        return;
    vm_tell(s, &(struct channel_message){
                       .op = CHANNEL_GRANTED, .id = job->request.id, .requested_size = total });
    if (!s->greeted)
        return;
    s->told_requested = total;
    s->tell_again = true;
}

/* Some of several devices may have followed before one did not: what has moved the wanted way is granted. */
static bool moved_as_wanted(const struct vm_state *s, const struct vm_job *job)
{
    uint64_t total = vm_state_requested(s);

    return job->request.size > job->was ? total > job->was : total < job->was;
}

static void finish(struct vm_state *s, bool ok, uint64_t now)
{
    struct vm_job job = s->job;

    s->job.active = false;
    switch (job.request.origin) {
    case VM_ORIGIN_GUEST:
    case VM_ORIGIN_FORGOTTEN:
    case VM_ORIGIN_MIN:
        vm_share_moved(s, job.was, vm_state_requested(s), now);
        if (ok || moved_as_wanted(s, &job))
            tell_granted(s, &job, now);
        else
            vm_request_refuse(
                    s, &job.request, CHANNEL_CODE_DEVICE, "QEMU did not take the requested size", &job.host);
        /* What QEMU had already told the driver is no news to it, and no reason to kick it later. */
        if (vm_state_requested(s) != job.was)
            vm_follow_begin(s, now);
        break;
    case VM_ORIGIN_KICK:
        if (ok)
            vm_note(s, &(struct vm_note){ .type = VM_NOTE_KICK, .usec = job.idle });
        break;
    case VM_ORIGIN_UNSTICK:
        if (ok)
            vm_note(s, &(struct vm_note){ .type = VM_NOTE_UNSTUCK, .was = job.was, .usec = job.idle });
        vm_follow_update(s, false, now);
        break;
    case _VM_ORIGIN_MAX:
    case _VM_ORIGIN_INVALID:
        break;
    }
    vm_guest_known(s, now);
    vm_request_pump(s, now);
}

/* Sets the next device from i on, or ends. */
static void advance(struct vm_state *s, unsigned i, uint64_t now)
{
    while (i < s->settings.n_devices && !wants_set(s, i))
        i++;
    if (i == s->settings.n_devices) {
        finish(s, true, now);
        return;
    }
    s->job.at = i;
    s->asked[i] = s->job.targets[i];
    s->set_since = s->querying;
    g_array_append_vals(s->actions,
            &(struct vm_action){ .type = VM_ACTION_SET, .device = i, .bytes = s->job.targets[i] }, 1);
}

void vm_job_begin(struct vm_state *s, const struct vm_request *r, const struct grant_host *host,
        const uint64_t targets[], uint64_t now)
{
    s->job = (struct vm_job){
        .active = true,
        .request = *r,
        .was = vm_state_requested(s),
        .idle = now - s->follow.progress,
    };
    if (host)
        s->job.host = *host;
    memcpy(s->job.targets, targets, s->settings.n_devices * sizeof(targets[0]));
    advance(s, 0, now);
}

void vm_state_set_done(struct vm_state *s, bool ok, uint64_t now)
{
    struct vm_note failed = { .type = VM_NOTE_SET_FAILED };
    unsigned at = s->job.at;

    if (!s->job.active)
        return;
    s->outrun = s->querying && s->set_since;
    if (ok) {
        s->asked[at] = 0;
        s->devices[at].requested_size = s->job.targets[at];
        advance(s, at + 1, now);
        return;
    }
    /* asked[] stays until QEMU has said what it has: that may be it all the same. */
    failed.wanted = s->job.targets[at];
    failed.origin = s->job.request.origin;
    (void)snprintf(failed.text, sizeof(failed.text), "%s", s->settings.device[at]);
    vm_note(s, &failed);
    finish(s, false, now);
    vm_query(s);
}

void vm_job_fail(struct vm_state *s, uint64_t now)
{
    struct vm_job job = s->job;

    if (!job.active)
        return;
    /* asked[] stays: the host may owe it. */
    s->job.active = false;
    if (job.request.origin == VM_ORIGIN_GUEST || job.request.origin == VM_ORIGIN_MIN)
        vm_request_refuse(s, &job.request, CHANNEL_CODE_DEVICE, "QEMU does not answer", &job.host);
}
