/* SPDX-License-Identifier: MIT */
/* The guest's side of a VM: greeting, what it is told, whether it is still there. */
#include "vm-internal.h"

#define AGENT "vmtide-host " VMTIDE_VERSION

/* A guest says its stats every 10 s; only one that does not is pinged, and after two pings without any line
 * it is taken for gone: but for `who` nothing is written into its port until it says something. */
#define PING_USEC (30 * USEC_PER_SEC)
#define PINGS_MAX 2u
/* A guest that speaks before its hello is greeted again, at most this often. */
#define WHO_USEC USEC_PER_SEC
/* A port can be deaf: QEMU (7.2) does not see that a host's socket ends while the VM is stopped, and
 * throttles the port at the guest's next line until a socket ends once more ("throttle on" in `info qtree`,
 * nearly every time). `who` still reaches the guest, no hello comes back. So a connection on which nothing is
 * heard, where hello is said every 2 s, is made anew: after 10 s, then after twice as long each time. Not
 * without end: each costs the guest two of the 32 buffers of its control queue until its kernel looks there,
 * and what finds none is lost. Afresh when the VM begins anew to run, as far as we know: vm_guest_runs(). */
#define UNHEARD_USEC (10 * USEC_PER_SEC)
#define RECONNECTS_MAX 5u
/* A guest whose requested size is above a lowered max size is asked again. */
#define SHRINK_USEC (60 * USEC_PER_SEC)

/* Messages that do not need a hello. */
static void send_ungreeted(struct vm_state *s, const struct channel_message *m)
{
    if (s->guest_up)
        g_array_append_vals(s->actions, &(struct vm_action){ .type = VM_ACTION_SEND, .message = *m }, 1);
}

static void ask_who(struct vm_state *s, uint64_t now)
{
    s->who_at = now + WHO_USEC;
    s->who_wanted = false;
    send_ungreeted(s, &(struct channel_message){ .op = CHANNEL_WHO });
}

void vm_guest_forget(struct vm_state *s)
{
    s->greeted = s->welcomed = s->who_wanted = false;
    vm_share_forget(s);
    vm_request_forget(s);
}

static void listen_for_it(struct vm_state *s, uint64_t now)
{
    s->reconnect_at = s->reconnects < RECONNECTS_MAX ? now + (UNHEARD_USEC << s->reconnects) : USEC_FOREVER;
}

static void heard_it(struct vm_state *s)
{
    s->reconnects = 0;
    s->reconnect_at = USEC_FOREVER;
}

void vm_state_guest_up(struct vm_state *s, uint64_t now)
{
    vm_guest_forget(s);
    s->guest_up = true;
    s->heard = now;
    ask_who(s, now);
    listen_for_it(s, now);
}

void vm_guest_runs(struct vm_state *s, uint64_t now)
{
    s->reconnects = 0;
    if (!s->greeted)
        listen_for_it(s, now);
}

void vm_state_guest_down(struct vm_state *s)
{
    vm_guest_forget(s);
    s->guest_up = false;
}

static void remember_told(struct vm_state *s, const struct grant_limits *l)
{
    s->told_size = vm_state_size(s);
    s->told_requested = vm_state_requested(s);
    s->told_min = l->min_size;
    s->told_max = l->max_size;
}

static void welcome(struct vm_state *s, const struct grant_limits *l)
{
    struct channel_message m = {
        .op = CHANNEL_WELCOME,
        .version = CHANNEL_VERSION,
        .agent = AGENT,
        .block_size = l->block_size,
        .size = vm_state_size(s),
        .requested_size = vm_state_requested(s),
        .min_size = l->min_size,
        .max_size = l->max_size,
    };

    memcpy(m.vm, s->settings.name, sizeof(m.vm));
    vm_tell(s, &m);
    s->welcomed = true;
    remember_told(s, l);
}

static void tell_sizes(struct vm_state *s)
{
    vm_tell(s, &(struct channel_message){
                       .op = CHANNEL_SIZE,
                       .size = vm_state_size(s),
                       .requested_size = vm_state_requested(s),
               });
}

static void tell_news(struct vm_state *s, const struct grant_limits *l)
{
    if (s->told_min != l->min_size || s->told_max != l->max_size)
        vm_tell(s, &(struct channel_message){
                           .op = CHANNEL_LIMITS, .min_size = l->min_size, .max_size = l->max_size });
    if (s->told_size != vm_state_size(s) || s->told_requested != vm_state_requested(s)) {
        tell_sizes(s);
        s->tell_again = true;
    }
    remember_told(s, l);
}

static bool above_max(const struct vm_state *s)
{
    return s->known && s->welcomed && vm_state_requested(s) > vm_state_limits(s).max_size;
}

/* Only the guest knows what it can give back without harm, so that it is asked and not cut. */
static void shrink_to_max(struct vm_state *s, uint64_t now)
{
    if (!above_max(s) || now < s->shrink_at)
        return;
    s->shrink_at = now + SHRINK_USEC;
    (void)vm_state_ask_shrink(s, vm_state_limits(s).max_size, "above the max size");
}

void vm_guest_known(struct vm_state *s, uint64_t now)
{
    struct grant_limits l;

    if (!s->known || !s->greeted)
        return;
    l = vm_state_limits(s);
    if (s->welcomed && s->told_max != l.max_size)
        s->shrink_at = now;
    if (s->welcomed)
        tell_news(s, &l);
    else
        welcome(s, &l);
    shrink_to_max(s, now);
}

int vm_state_ask_shrink(struct vm_state *s, uint64_t size, const char *reason)
{
    struct channel_message m = { .op = CHANNEL_SHRINK, .id = s->last_id + 1, .size = size };
    struct vm_note note = { .type = VM_NOTE_ASK_SHRINK, .wanted = size };

    if (!s->welcomed)
        return -ENOTCONN;
    g_strlcpy(m.reason, reason, sizeof(m.reason));
    g_strlcpy(note.text, reason, sizeof(note.text));
    vm_tell(s, &m);
    vm_note(s, &note);
    s->shrink_id = s->last_id = m.id;
    s->shrink_size = size;
    return 0;
}

static void on_hello(struct vm_state *s, const struct channel_message *m, uint64_t now)
{
    struct vm_note note = { .type = VM_NOTE_HELLO };

    if (m->version != CHANNEL_VERSION) {
        struct channel_message error = { .op = CHANNEL_ERROR };

        (void)snprintf(error.text, sizeof(error.text),
                "version %llu of the channel is not spoken here, only %u", (unsigned long long)m->version,
                CHANNEL_VERSION);
        send_ungreeted(s, &error);
        vm_note(s, &(struct vm_note){ .type = VM_NOTE_VERSION, .wanted = m->version });
        return;
    }
    /* It begins anew: what an earlier instance asked is not its own. */
    vm_guest_forget(s);
    s->greeted = true;
    s->shrink_at = now;
    s->life.reset_at = 0;
    g_strlcpy(s->life.agent, m->agent, sizeof(s->life.agent));
    g_strlcpy(note.text, m->agent, sizeof(note.text));
    vm_note(s, &note);
    vm_guest_known(s, now);
}

static void on_declined(struct vm_state *s, const struct channel_message *m, uint64_t now)
{
    if (s->shrink_id == 0 || m->id != s->shrink_id)
        return;
    s->shrink_id = 0;
    vm_share_declined(s, now);
    vm_note(s, &(struct vm_note){ .type = VM_NOTE_DECLINED, .wanted = s->shrink_size, .code = m->code });
}

/* It has not heard, or forgotten, that we are there. */
static void greet_again(struct vm_state *s, uint64_t now)
{
    if (s->greeted || !s->guest_up)
        return;
    if (now >= s->who_at)
        ask_who(s, now);
    else
        s->who_wanted = true;
}

void vm_state_guest_noise(struct vm_state *s, uint64_t now)
{
    heard_it(s);
    s->life.counters.bad_lines++;
    greet_again(s, now);
}

/* Something else came first. */
static void on_stranger(struct vm_state *s, const struct channel_message *m, uint64_t now)
{
    greet_again(s, now);
    if (m->op == CHANNEL_RESIZE)
        send_ungreeted(s, &(struct channel_message){
                                  .op = CHANNEL_REFUSED,
                                  .id = m->id,
                                  .code = CHANNEL_CODE_INVALID,
                                  .max_size = s->told_max,
                                  .text = "a hello must come first",
                          });
}

/* A line can be lost: a guest whose suspend fails empties the queues of its port (seen on 6.1), and believed
 * the size before the last until the next change. So what was told since its last stats is told once more
 * after them. */
static void on_stats(struct vm_state *s, const struct channel_message *m, uint64_t now)
{
    s->stats = (struct vm_stats){
        .available = m->available, .total = m->total, .some10 = m->some10, .level = m->level, .time = now
    };
    if (!s->tell_again || !s->welcomed)
        return;
    s->tell_again = false;
    tell_sizes(s);
}

void vm_state_guest_message(struct vm_state *s, const struct channel_message *m, uint64_t now)
{
    heard_it(s);
    s->heard = now;
    s->ping_at = now + PING_USEC;
    s->pings = 0;
    if (m->op == CHANNEL_HELLO)
        on_hello(s, m, now);
    else if (m->op == CHANNEL_PING)
        send_ungreeted(s, &(struct channel_message){ .op = CHANNEL_PONG, .id = m->id });
    else if (!s->greeted)
        on_stranger(s, m, now);
    else if (m->op == CHANNEL_RESIZE)
        vm_request_push(s, m, now);
    else if (m->op == CHANNEL_DECLINED)
        on_declined(s, m, now);
    else if (m->op == CHANNEL_STATS)
        on_stats(s, m, now);
}

static void on_silence(struct vm_state *s, uint64_t now)
{
    /* One that does not run cannot answer. */
    if (s->life.stopped) {
        s->ping_at = now + PING_USEC;
        return;
    }
    if (s->pings >= PINGS_MAX) {
        vm_note(s, &(struct vm_note){ .type = VM_NOTE_SILENT, .usec = now - s->heard });
        vm_guest_forget(s);
        ask_who(s, now);
        listen_for_it(s, now);
        return;
    }
    s->pings++;
    s->ping_at = now + PING_USEC;
    vm_tell(s, &(struct channel_message){ .op = CHANNEL_PING, .id = ++s->last_id });
}

static void reconnect(struct vm_state *s)
{
    s->reconnect_at = USEC_FOREVER;
    /* One that does not run says nothing, and the end of its socket would make it deaf. */
    if (!s->qmp_up || s->life.stopped)
        return;
    s->reconnects++;
    vm_act(s, VM_ACTION_RECONNECT);
}

void vm_guest_timer(struct vm_state *s, uint64_t now)
{
    if (s->guest_up && now >= s->reconnect_at)
        reconnect(s);
    if (s->greeted && now >= s->ping_at)
        on_silence(s, now);
    if (s->who_wanted && now >= s->who_at)
        ask_who(s, now);
    shrink_to_max(s, now);
}

uint64_t vm_guest_deadline(const struct vm_state *s)
{
    uint64_t deadline = s->greeted ? s->ping_at : USEC_FOREVER;

    if (s->who_wanted)
        deadline = MIN_OF(deadline, s->who_at);
    if (s->guest_up)
        deadline = MIN_OF(deadline, s->reconnect_at);
    return above_max(s) ? MIN_OF(deadline, s->shrink_at) : deadline;
}
