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

int callers_take(struct callers *c, const char *name)
{
    size_t i;

    if (name[0] == '\0' || strlen(name) >= CALLERS_NAME_MAX)
        return -EDQUOT;
    i = find(c, name, true);
    if (i == CALLERS_MAX || c->table[i].triggers >= CALLERS_TRIGGERS_MAX)
        return -EDQUOT;
    (void)snprintf(c->table[i].name, CALLERS_NAME_MAX, "%s", name);
    c->table[i].triggers++;
    return 0;
}

void callers_give_back(struct callers *c, const char *name)
{
    size_t i = find(c, name, false);

    if (i < CALLERS_MAX && --c->table[i].triggers == 0)
        clear(c, i);
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
