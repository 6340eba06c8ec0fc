/* SPDX-License-Identifier: MIT */
/* What becomes of a VM besides its memory: stopped, migrating, reset, paused by an administrator, holding
 * more than it was granted; and what it shows of itself. */
#include "bytes.h"
#include "vm-internal.h"
#include "vm-view.h"

/* QEMU gives back what the guest unplugs before it says the new size, so that more than this is no race. */
#define OVER_HELD_USEC (10 * USEC_PER_SEC)
/* Firmware, kernel and daemons of a guest are there by then; later it is one without a daemon. */
#define RESET_USEC (120 * USEC_PER_SEC)

static const char *const life_names[_VM_LIFE_MAX] = {
    [VM_LIFE_NO_QEMU] = "no-qemu",
    [VM_LIFE_NO_NUMBERS] = "no-numbers",
    [VM_LIFE_PAUSED] = "paused",
    [VM_LIFE_MIGRATING] = "migrating",
    [VM_LIFE_OVER_HELD] = "over-held",
    [VM_LIFE_RESETTING] = "resetting",
    [VM_LIFE_NO_GUEST] = "no-guest",
    [VM_LIFE_STUCK] = "stuck",
    [VM_LIFE_PLUGGING] = "plugging",
    [VM_LIFE_UNPLUGGING] = "unplugging",
    [VM_LIFE_IDLE] = "idle",
};

const char *vm_life_to_string(enum vm_life l)
{
    return l >= 0 && l < _VM_LIFE_MAX ? life_names[l] : NULL;
}

bool vm_life_holds(const struct vm_state *s)
{
    return s->life.migrating || s->life.paused_until > 0;
}

const char *vm_life_hold(const struct vm_state *s, char buf[static 256])
{
    if (s->life.paused_until > 0)
        (void)snprintf(buf, 256, "paused by an administrator: %s", s->life.pause_reason);
    else if (s->life.migrating)
        (void)snprintf(buf, 256, "the VM is migrating: no memory is plugged or unplugged until that is over");
    else
        return NULL;
    return buf;
}

void vm_state_stopped(struct vm_state *s, bool stopped, uint64_t now)
{
    if (s->life.stopped == stopped)
        return;
    s->life.stopped = stopped;
    vm_note(s, &(struct vm_note){ .type = stopped ? VM_NOTE_STOPPED : VM_NOTE_RUNS });
    if (stopped)
        return;
    s->heard = now;
    vm_guest_runs(s, now);
    vm_follow_go_on(s, now);
}

void vm_state_migrating(struct vm_state *s, bool migrating, uint64_t now)
{
    if (s->life.migrating == migrating)
        return;
    s->life.migrating = migrating;
    vm_note(s, &(struct vm_note){ .type = migrating ? VM_NOTE_MIGRATING : VM_NOTE_MIGRATED });
    if (migrating)
        return;
    vm_follow_go_on(s, now);
    vm_query(s);
    vm_request_pump(s, now);
}

void vm_state_held(struct vm_state *s, uint64_t held, uint64_t now)
{
    uint64_t granted = bytes_add_up(s->boot_size, vm_state_committed(s));
    uint64_t bound = bytes_add_up(granted, s->settings.held_slack);
    struct vm_note note = { .type = VM_NOTE_OVER_HELD, .wanted = held, .was = granted };

    s->life.held = held;
    if (!s->known || held <= bound) {
        s->life.over_since = 0;
        note.type = VM_NOTE_HELD_WELL;
        if (s->life.over_held && s->known) {
            s->life.over_held = false;
            vm_note(s, &note);
        }
        return;
    }
    if (s->life.over_since == 0)
        s->life.over_since = now;
    if (s->life.over_held || now - s->life.over_since < OVER_HELD_USEC)
        return;
    s->life.over_held = true;
    vm_note(s, &note);
}

void vm_state_pause(struct vm_state *s, const char *why, uint64_t usec, uint64_t now)
{
    struct vm_note note = { .type = VM_NOTE_PAUSED, .usec = usec };

    s->life.paused_until = usec >= USEC_FOREVER - now ? USEC_FOREVER : now + usec;
    s->life.pauses++;
    g_strlcpy(s->life.pause_reason, why, sizeof(s->life.pause_reason));
    g_strlcpy(note.text, why, sizeof(note.text));
    vm_note(s, &note);
}

void vm_state_resume(struct vm_state *s, uint64_t now)
{
    if (s->life.paused_until == 0)
        return;
    s->life.paused_until = 0;
    s->life.pause_reason[0] = '\0';
    vm_note(s, &(struct vm_note){ .type = VM_NOTE_RESUMED });
    vm_follow_go_on(s, now);
    vm_request_pump(s, now);
}

void vm_life_timer(struct vm_state *s, uint64_t now)
{
    if (s->life.paused_until > 0 && now >= s->life.paused_until)
        vm_state_resume(s, now);
}

uint64_t vm_life_deadline(const struct vm_state *s)
{
    return s->life.paused_until > 0 ? s->life.paused_until : USEC_FOREVER;
}

static void remember(struct vm_answer *a, const struct vm_note *note, uint64_t size, uint64_t now)
{
    a->time = now;
    a->size = size;
    a->code = note->code;
    memcpy(a->text, note->text, sizeof(a->text));
}

static void note_grant(struct vm_life_state *l, const struct vm_note *note, uint64_t now)
{
    if (note->origin == VM_ORIGIN_GUEST)
        l->counters.grants++;
    remember(&l->last_grant, note, note->requested, now);
}

static void note_refusal(struct vm_life_state *l, const struct vm_note *note, uint64_t now)
{
    if (note->origin == VM_ORIGIN_GUEST)
        l->counters.refusals[note->code]++;
    remember(&l->last_refusal, note, note->wanted, now);
}

void vm_state_noted(struct vm_state *s, const struct vm_note *note, uint64_t now)
{
    struct vm_counters *c = &s->life.counters;

    if (note->type == VM_NOTE_GRANTED)
        note_grant(&s->life, note, now);
    else if (note->type == VM_NOTE_REFUSED)
        note_refusal(&s->life, note, now);
    else if (note->type == VM_NOTE_KICK)
        c->stalls++;
    else if (note->type == VM_NOTE_UNSTUCK)
        c->unstuck++;
    else if (note->type == VM_NOTE_ASK_SHRINK)
        c->shrinks++;
    else if (note->type == VM_NOTE_DECLINED)
        c->declined++;
}

static enum vm_life life_of_guest(const struct vm_state *s, uint64_t now)
{
    if (!s->greeted)
        return s->life.reset_at > 0 && now - s->life.reset_at < RESET_USEC ? VM_LIFE_RESETTING
                                                                           : VM_LIFE_NO_GUEST;
    if (!s->follow.active)
        return VM_LIFE_IDLE;
    if (now - s->follow.progress >= s->settings.stuck_usec)
        return VM_LIFE_STUCK;
    return vm_state_size(s) > vm_state_requested(s) ? VM_LIFE_UNPLUGGING : VM_LIFE_PLUGGING;
}

enum vm_life vm_state_life(const struct vm_state *s, uint64_t now)
{
    if (!s->qmp_up)
        return VM_LIFE_NO_QEMU;
    if (!s->known)
        return VM_LIFE_NO_NUMBERS;
    if (s->life.migrating)
        return VM_LIFE_MIGRATING;
    if (s->life.stopped)
        return VM_LIFE_PAUSED;
    if (s->life.over_held)
        return VM_LIFE_OVER_HELD;
    return life_of_guest(s, now);
}

void vm_state_view(const struct vm_state *s, uint64_t now, struct vm_view *ret)
{
    struct grant_limits l = s->known ? vm_state_limits(s)
                                     : (struct grant_limits){ .min_size = s->settings.min_size,
                                           .max_size = s->settings.max_size };

    *ret = (struct vm_view){
        .name = s->settings.name,
        .agent = s->greeted ? s->life.agent : "",
        .life = vm_state_life(s, now),
        .size = vm_state_size(s),
        .requested_size = vm_state_requested(s),
        .boot_size = s->boot_size,
        .min_size = l.min_size,
        .max_size = l.max_size,
        .block_size = l.block_size,
        .device_max = s->known ? devices_max(s->devices, s->settings.n_devices) : 0,
        .weight = s->settings.weight,
        .stats = s->greeted ? s->stats : (struct vm_stats){ 0 },
        .held = s->life.held,
        .paused_until = s->life.paused_until,
        .pause_reason = s->life.pause_reason,
        .pauses = s->life.pauses,
        .last_grant = &s->life.last_grant,
        .last_refusal = &s->life.last_refusal,
        .counters = &s->life.counters,
    };
}
