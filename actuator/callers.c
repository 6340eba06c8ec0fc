/* SPDX-License-Identifier: MIT */
#include "callers.h"

/* The caller's place, or with add a free one; CALLERS_MAX: none. */
static size_t find(const struct callers *c, const char *name, bool add)
{
    size_t empty = CALLERS_MAX;

    for (size_t i = 0; i < CALLERS_MAX; i++) {
        if (streq(c->table[i].name, name))
            return i;
        if (c->table[i].name[0] == '\0' && empty == CALLERS_MAX)
            empty = i;
    }
    return add ? empty : CALLERS_MAX;
}

static void clear(struct callers *c, size_t i)
{
    c->table[i].name[0] = '\0';
    c->table[i].triggers = 0;
}

/* The user's place, or one whose minute is over, made the user's; CALLERS_USERS_MAX: none. */
static size_t find_user(struct callers *c, uid_t uid, uint64_t now)
{
    size_t old = CALLERS_USERS_MAX;

    for (size_t i = 0; i < CALLERS_USERS_MAX; i++) {
        bool over = c->users[i].triggers == 0 || now - c->users[i].begin >= CALLERS_RATE_USEC;

        if (!over && c->users[i].uid == uid)
            return i;
        if (over && old == CALLERS_USERS_MAX)
            old = i;
    }
    if (old < CALLERS_USERS_MAX) {
        c->users[old].uid = uid;
        c->users[old].begin = now;
        c->users[old].triggers = 0;
    }
    return old;
}

int callers_take(struct callers *c, const char *name, uid_t uid, uint64_t now)
{
    size_t i, user;

    if (name[0] == '\0' || strlen(name) >= CALLERS_NAME_MAX)
        return -EDQUOT;
    i = find(c, name, true);
    if (i == CALLERS_MAX || c->table[i].triggers >= CALLERS_TRIGGERS_MAX)
        return -EDQUOT;
    user = find_user(c, uid, now);
    if (user == CALLERS_USERS_MAX || c->users[user].triggers >= CALLERS_RATE)
        return -EBUSY;
    (void)snprintf(c->table[i].name, CALLERS_NAME_MAX, "%s", name);
    c->table[i].triggers++;
    c->users[user].triggers++;
    return 0;
}

void callers_give_back(struct callers *c, const char *name, uid_t uid)
{
    size_t i = find(c, name, false);

    if (i == CALLERS_MAX)
        return;
    if (--c->table[i].triggers == 0)
        clear(c, i);
    for (size_t k = 0; k < CALLERS_USERS_MAX; k++)
        if (c->users[k].uid == uid && c->users[k].triggers > 0) {
            c->users[k].triggers--;
            return;
        }
}

void callers_forget(struct callers *c, const char *name)
{
    size_t i = find(c, name, false);

    if (i < CALLERS_MAX)
        clear(c, i);
}

void callers_forget_prefix(struct callers *c, const char *prefix)
{
    for (size_t i = 0; i < CALLERS_MAX; i++)
        if (strncmp(c->table[i].name, prefix, strlen(prefix)) == 0)
            clear(c, i);
}
