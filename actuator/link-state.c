/* SPDX-License-Identifier: MIT */
#include "link-state.h"

static void greet(struct link_state *s, uint64_t now)
{
    s->phase = LINK_GREETING;
    s->deadline = now + LINK_HELLO_USEC;
    s->pinged = false;
}

void link_state_connecting(struct link_state *s, uint64_t now)
{
    s->phase = LINK_CONNECTING;
    s->deadline = now + LINK_CONNECT_USEC;
}

void link_state_opened(struct link_state *s, uint64_t now)
{
    s->broken = false;
    s->bad = s->lines = s->bytes = (struct fault_window){ 0 };
    greet(s, now);
}

void link_state_closed(struct link_state *s, uint64_t now)
{
    s->phase = LINK_CLOSED;
    s->deadline = now + LINK_REOPEN_USEC;
    s->pinged = s->broken = false;
}

void link_state_renew(struct link_state *s, uint64_t now)
{
    greet(s, now);
}

static enum link_act welcomed(struct link_state *s, const struct channel_message *m, uint64_t now)
{
    if (m->version != CHANNEL_VERSION)
        return LINK_BAD;
    s->phase = LINK_UP;
    s->deadline = now + LINK_KEEPALIVE_USEC;
    return LINK_WELCOMED;
}

enum link_act link_state_message(struct link_state *s, const struct channel_message *m, uint64_t now)
{
    s->heard = now;
    s->pinged = false;
    switch (m->op) {
    case CHANNEL_WHO:
        greet(s, now);
        return LINK_SAY_HELLO;
    case CHANNEL_WELCOME:
        return welcomed(s, m, now);
    case CHANNEL_PING:
        return LINK_SAY_PONG;
    case CHANNEL_PONG:
        return LINK_NOTHING;
    case CHANNEL_ERROR:
        return LINK_COMPLAINT;
    case CHANNEL_GRANTED:
    case CHANNEL_REFUSED:
    case CHANNEL_SIZE:
    case CHANNEL_LIMITS:
    case CHANNEL_SHRINK:
    case CHANNEL_ROOM:
        /* Before the welcome it is about a past that we do not share. */
        return s->phase == LINK_UP ? LINK_PASS_ON : LINK_NOTHING;
    case CHANNEL_HELLO:
    case CHANNEL_RESIZE:
    case CHANNEL_DECLINED:
    case CHANNEL_STATS:
        return LINK_BAD;
    case _CHANNEL_OP_MAX:
    case _CHANNEL_OP_INVALID:
        break;
    }
    return LINK_BAD;
}

/* Counts n in a window. Returns true when the count exceeds max; the link then ignores the host for a time.
 */
static bool count(struct link_state *s, struct fault_window *w, size_t n, uint32_t max, uint64_t now)
{
    if (s->phase == LINK_DEAF ||
            !fault_window_add_many(w, (uint32_t)n, max, CHANNEL_BAD_LINES_WINDOW_USEC, now))
        return false;
    s->bad = s->lines = s->bytes = (struct fault_window){ 0 };
    s->phase = LINK_DEAF;
    s->deadline = now + CHANNEL_BAD_LINES_WINDOW_USEC;
    return true;
}

bool link_state_bad(struct link_state *s, uint64_t now)
{
    return count(s, &s->bad, 1, CHANNEL_BAD_LINES_MAX, now);
}

bool link_state_line(struct link_state *s, uint64_t now)
{
    return count(s, &s->lines, 1, LINK_LINES_MAX, now);
}

bool link_state_received(struct link_state *s, size_t n, uint64_t now)
{
    return count(s, &s->bytes, n, LINK_BYTES_MAX, now);
}

void link_state_broken(struct link_state *s, uint64_t now)
{
    s->broken = true;
    s->deadline = now;
}

/* Silence: ask, then wait for the answer, then give up. */
static enum link_act keep_alive(struct link_state *s, uint64_t now)
{
    if (s->pinged)
        return LINK_HANG_UP;
    if (now < s->heard + LINK_KEEPALIVE_USEC) {
        s->deadline = s->heard + LINK_KEEPALIVE_USEC;
        return LINK_NOTHING;
    }
    s->pinged = true;
    s->ping_id++;
    s->deadline = now + LINK_PONG_USEC;
    return LINK_SAY_PING;
}

enum link_act link_state_timer(struct link_state *s, uint64_t now)
{
    if (s->broken)
        return LINK_HANG_UP;
    if (now < s->deadline)
        return LINK_NOTHING;
    switch (s->phase) {
    case LINK_CLOSED:
        return LINK_OPEN;
    case LINK_CONNECTING:
        return LINK_GIVE_UP;
    case LINK_GREETING:
        greet(s, now);
        return LINK_SAY_HELLO;
    case LINK_UP:
        return keep_alive(s, now);
    case LINK_DEAF:
        greet(s, now);
        return LINK_LISTEN;
    case _LINK_PHASE_MAX:
    case _LINK_PHASE_INVALID:
        break;
    }
    return LINK_NOTHING;
}
