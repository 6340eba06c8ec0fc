/* SPDX-License-Identifier: MIT */
#pragma once

#include "channel.h"
#include "ratelimit.h"

/* What the guest's end of the channel does next, pure: no clock, no fd. */

/* A port without a client on the host hangs up for ever: leave epoll and look again. */
#define LINK_REOPEN_USEC USEC_PER_SEC
/* A connect over vsock is answered in less than a ms, unless the way there is full of others' packets. */
#define LINK_CONNECT_USEC (5 * USEC_PER_SEC)
/* A hello without a welcome is said again. */
#define LINK_HELLO_USEC (2 * USEC_PER_SEC)
/* After this much silence the host is asked whether it is there, and this long is waited for its answer. */
#define LINK_KEEPALIVE_USEC (30 * USEC_PER_SEC)
#define LINK_PONG_USEC (5 * USEC_PER_SEC)

/* A host sends a line for each change of the size and for each request, some 100 per second. More lines or
 * bytes than these in CHANNEL_BAD_LINES_WINDOW_USEC are a flood; that many lines cost some 0.1 s of CPU time.
 */
#define LINK_LINES_MAX 20000u
#define LINK_BYTES_MAX (4u * 1024 * 1024)

enum link_phase {
    LINK_CLOSED,
    LINK_CONNECTING, /* over vsock: the host's kernel has not answered yet */
    LINK_GREETING,   /* open, hello was said */
    LINK_UP,         /* welcomed */
    LINK_DEAF,       /* too many bad lines: not listening for a time */
    _LINK_PHASE_MAX,
    _LINK_PHASE_INVALID = -EINVAL,
};

/* What is to be done. */
enum link_act {
    LINK_NOTHING,
    LINK_OPEN,
    LINK_GIVE_UP, /* connecting */
    LINK_SAY_HELLO,
    LINK_LISTEN, /* again, and say hello */
    LINK_SAY_PING,
    LINK_SAY_PONG,
    LINK_HANG_UP,
    LINK_WELCOMED,
    LINK_PASS_ON,   /* the message is the actuator's */
    LINK_COMPLAINT, /* the host did not understand us */
    LINK_BAD,       /* count the line with link_state_bad() */
    _LINK_ACT_MAX,
    _LINK_ACT_INVALID = -EINVAL,
};

struct link_state {
    enum link_phase phase;
    uint64_t deadline; /* of link_state_timer(), µs */
    uint64_t heard;
    uint64_t ping_id;
    bool pinged;
    bool broken;
    struct fault_window bad;
    struct fault_window lines;
    struct fault_window bytes;
};

/* The port is being opened, */
void link_state_connecting(struct link_state *s, uint64_t now);
/* was opened (say hello), or closed, or could not be opened. */
void link_state_opened(struct link_state *s, uint64_t now);
void link_state_closed(struct link_state *s, uint64_t now);
/* A message came in. A `who` in the middle means that the host began anew and knows no request any more: back
 * to GREETING. */
enum link_act link_state_message(struct link_state *s, const struct channel_message *m, uint64_t now);
/* A bad line came in; true: it is one too many, stop listening. */
bool link_state_bad(struct link_state *s, uint64_t now);
/* The same for each line, including empty ones, and for n bytes received. */
bool link_state_line(struct link_state *s, uint64_t now);
bool link_state_received(struct link_state *s, size_t n, uint64_t now);
/* A welcome is wanted once more. */
void link_state_renew(struct link_state *s, uint64_t now);
/* The host does not read what is written to it: the timer hangs up, at once. */
void link_state_broken(struct link_state *s, uint64_t now);
/* The deadline may have come. */
enum link_act link_state_timer(struct link_state *s, uint64_t now);
