/* SPDX-License-Identifier: MIT */
/* Following the size until it is the requested size, and helping when it does not come. */
#include "vm-internal.h"

/* MEMORY_DEVICE_SIZE_CHANGE comes once a second at most, so in the first second QEMU is asked. */
#define FAST_USEC USEC_PER_SEC
#define FAST_QUERY_USEC (20 * USEC_PER_MSEC)
/* Then the event says it; this is for the last one, which may be late or missing. */
#define SLOW_QUERY_USEC USEC_PER_SEC
/* A driver that cannot follow (no memory for memmap, none loaded) waits up to 300 s itself: kick it less and
 * less often. */
#define KICK_MAX_USEC (60 * USEC_PER_SEC)
/* A driver for which adding a block has failed (-12, no memory for its memmap) waits 50 s. A guest that grows
 * is short of memory, so the first kick comes sooner than for an unplug, which may take long. Measured: a
 * driver that works plugs a block in some 10 ms under TCG, and a kick that was not needed changes nothing. */
#define GROW_KICK_USEC (500 * USEC_PER_MSEC)
/* When a kick cannot be made just now. */
#define BUSY_USEC USEC_PER_SEC

static bool is_moving(const struct vm_state *s)
{
    for (unsigned i = 0; i < s->settings.n_devices; i++)
        if (s->devices[i].size != s->devices[i].requested_size)
            return true;
    return false;
}

static bool is_shrinking(const struct vm_state *s)
{
    for (unsigned i = 0; i < s->settings.n_devices; i++)
        if (s->devices[i].size > s->devices[i].requested_size)
            return true;
    return false;
}

/* The next kick, or the end of a stuck shrink when that comes first. */
static void plan_act(struct vm_state *s, uint64_t now)
{
    uint64_t stuck_at = s->follow.progress + s->settings.stuck_usec;

    s->follow.act_at = now + s->follow.kick_delay;
    if (is_shrinking(s) && stuck_at > now)
        s->follow.act_at = MIN_OF(s->follow.act_at, stuck_at);
}

static void progress(struct vm_state *s, uint64_t now)
{
    s->follow.progress = now;
    s->follow.kick_delay =
            is_shrinking(s) ? s->settings.progress_usec : MIN_OF(s->settings.progress_usec, GROW_KICK_USEC);
    plan_act(s, now);
}

void vm_follow_begin(struct vm_state *s, uint64_t now)
{
    s->follow = (struct vm_follow){ .active = is_moving(s), .begin = now, .query_at = now + FAST_QUERY_USEC };
    progress(s, now);
}

void vm_follow_go_on(struct vm_state *s, uint64_t now)
{
    if (s->follow.active)
        progress(s, now);
}

void vm_follow_update(struct vm_state *s, bool moved, uint64_t now)
{
    bool moving = is_moving(s);

    if (s->follow.active && !moving)
        vm_note(s, &(struct vm_note){ .type = VM_NOTE_COMPLETE, .usec = now - s->follow.begin });
    if (!s->follow.active && moving)
        vm_follow_begin(s, now);
    else if (moved)
        progress(s, now);
    s->follow.active = moving;
}

static uint64_t query_interval(const struct vm_state *s, uint64_t now)
{
    if (now - s->follow.begin < FAST_USEC)
        return FAST_QUERY_USEC;
    /* Nothing has moved for long: no need to look more often than at each kick. */
    return now - s->follow.progress < s->settings.stuck_usec ? SLOW_QUERY_USEC : s->follow.kick_delay;
}

static void unstick(struct vm_state *s, uint64_t now)
{
    uint64_t targets[DEVICES_MAX];

    for (unsigned i = 0; i < s->settings.n_devices; i++)
        targets[i] = MAX_OF(s->devices[i].size, s->devices[i].requested_size);
    vm_job_begin(s, &(struct vm_request){ .origin = VM_ORIGIN_UNSTICK, .since = now }, NULL, targets, now);
}

static void kick(struct vm_state *s, uint64_t now)
{
    uint64_t targets[DEVICES_MAX];

    for (unsigned i = 0; i < s->settings.n_devices; i++)
        targets[i] = s->devices[i].requested_size;
    vm_job_begin(s, &(struct vm_request){ .origin = VM_ORIGIN_KICK, .since = now }, NULL, targets, now);
}

static void act(struct vm_state *s, uint64_t now)
{
    if (!s->known || s->job.active || s->queue_len > 0 || vm_life_holds(s)) {
        s->follow.act_at = now + BUSY_USEC;
        return;
    }
    s->follow.kick_delay = MIN_OF(s->follow.kick_delay * 2, KICK_MAX_USEC);
    plan_act(s, now);
    if (is_shrinking(s) && now - s->follow.progress >= s->settings.stuck_usec)
        unstick(s, now);
    else
        kick(s, now);
}

void vm_follow_timer(struct vm_state *s, uint64_t now)
{
    if (!s->follow.active)
        return;
    if (now >= s->follow.query_at) {
        s->follow.query_at = now + query_interval(s, now);
        vm_query(s);
    }
    if (now >= s->follow.act_at)
        act(s, now);
}

uint64_t vm_follow_deadline(const struct vm_state *s)
{
    return s->follow.active ? MIN_OF(s->follow.query_at, s->follow.act_at) : USEC_FOREVER;
}
