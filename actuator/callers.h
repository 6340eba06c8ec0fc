/* SPDX-License-Identifier: MIT */
#pragma once

#include <sys/types.h>

#include "macro.h"

/* How many pressure triggers each caller was given, pure. The kernel does not tell when a trigger that was
 * passed on is closed, so they count until their caller leaves; a caller that comes again is another one, so
 * there is a rate for its user too: a monitor that starts asks for two, four when the kernel takes no short
 * windows, and systemd gives up a service after five starts in 10 s. */

#define CALLERS_MAX 16u
#define CALLERS_TRIGGERS_MAX 4u
#define CALLERS_NAME_MAX 64u
#define CALLERS_USERS_MAX 8u
#define CALLERS_RATE 16u /* new ones for a user in a minute */
#define CALLERS_RATE_USEC (60 * USEC_PER_SEC)

struct callers {
    struct {
        char name[CALLERS_NAME_MAX]; /* unique name, or one for a private connection; empty: free */
        unsigned triggers;
    } table[CALLERS_MAX];
    struct {
        uid_t uid;
        uint64_t begin; /* µs, of this minute */
        unsigned triggers;
    } users[CALLERS_USERS_MAX];
};

/* One trigger more for this caller. -EDQUOT: it has as many as it may, or there are too many callers. -EBUSY:
 * its user was given as many as there may be in a minute, or too many users were given one. */
int callers_take(struct callers *c, const char *name, uid_t uid, uint64_t now);
/* The trigger came to nothing. */
void callers_give_back(struct callers *c, const char *name, uid_t uid);
/* It has left; its triggers live on where they are, but nobody can ask for more by that name. */
void callers_forget(struct callers *c, const char *name);
/* All whose name begins so. */
void callers_forget_prefix(struct callers *c, const char *prefix);
