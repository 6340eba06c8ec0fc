/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* How many pressure triggers each caller was given, pure. The kernel does not tell when a trigger that was
 * passed on is closed, so they count until their caller leaves; a caller that starts again is another one. */

#define CALLERS_MAX 16u
#define CALLERS_TRIGGERS_MAX 4u
#define CALLERS_NAME_MAX 64u

struct callers {
    struct {
        char name[CALLERS_NAME_MAX]; /* unique name, or one for a private connection; empty: free */
        unsigned triggers;
    } table[CALLERS_MAX];
};

/* One trigger more for this caller. -EDQUOT: it has as many as it may, or there are too many callers. */
int callers_take(struct callers *c, const char *name);
/* The trigger came to nothing. */
void callers_give_back(struct callers *c, const char *name);
/* It has left; its triggers live on where they are, but nobody can ask for more by that name. */
void callers_forget(struct callers *c, const char *name);
/* All whose name begins so. */
void callers_forget_prefix(struct callers *c, const char *prefix);
