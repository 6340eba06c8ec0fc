/* SPDX-License-Identifier: MIT */
#pragma once

#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "macro.h"

/* Who may do what. One table from method to action; what is not in it is nobody's. Root, and the monitor's
 * user for its own actions, are known by uid and never wait for polkit; everybody else is polkit's to judge.
 */
struct authorize;

/* Queries at polkit, of all and of one user. With all taken the user with the most gives way to one with
 * fewer. */
#define AUTHORIZE_QUERIES_MAX 16u
#define AUTHORIZE_QUERIES_EACH_MAX 8u
/* Calls whose uid the bus was asked for; that takes no time, and makes place: whoever has most here gives
 * way. */
#define AUTHORIZE_PENDING_MAX 64u

/* No action of polkit's: nobody but root may. */
#define AUTHORIZE_ROOT_ONLY ""

struct authorize_rule {
    const char *member; /* NULL ends the table */
    const char *action; /* NULL: everybody may; or AUTHORIZE_ROOT_ONLY */
    bool monitor;       /* the monitor's user may, unasked */
};

/* What is known of a call without polkit. */
enum authorize_verdict {
    AUTHORIZE_NO,
    AUTHORIZE_YES,
    AUTHORIZE_ASK,
    _AUTHORIZE_VERDICT_MAX,
    _AUTHORIZE_VERDICT_INVALID = -EINVAL,
};
enum authorize_verdict authorize_judge(
        const struct authorize_rule *rules, const char *member, uid_t uid, uid_t monitor_uid);

/* rules must outlive it. */
int authorize_new(const struct authorize_rule *rules, uid_t monitor_uid, struct authorize **ret);
struct authorize *authorize_free(struct authorize *a);

/* Who called what is being applied now; for apply(). */
uid_t authorize_caller(const struct authorize *a);

/* The bus has gone: whoever waits for an answer over it gets none. */
void authorize_cancel(struct authorize *a);
/* This caller has: nothing of its is done any more. */
void authorize_caller_gone(struct authorize *a, const char *name);

/* Calls apply(m, …) when the caller may, at once when known_uid is one (a private connection), else when the
 * bus has told who it is and polkit, if it has to be asked, says yes: without waiting. Answers the message
 * itself when not. */
int authorize(struct authorize *a, sd_bus_message *m, const uid_t *known_uid, sd_bus_message_handler_t apply,
        void *userdata);
