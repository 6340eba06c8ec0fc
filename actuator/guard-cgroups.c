/* SPDX-License-Identifier: MIT */
#include "guard-cgroups.h"

#include <dirent.h>
#include <limits.h>
#include <sys/inotify.h>

/* PID 1 must never wait at a line, nor the daemons, which would then wait for themselves. */
static const char *const never[] = { "init.scope", "vmtide.slice" };

int guard_cgroups_init(struct guard_cgroups *c, const char *root)
{
    *c = (struct guard_cgroups){ .root = root, .inotify = -EBADF, .root_watch = -1, .stale = true };
    c->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    return c->inotify < 0 ? -errno : 0;
}

void guard_cgroups_clear(struct guard_cgroups *c)
{
    for (size_t i = 0; i < c->n; i++)
        guard_cgroup_close(&c->list[i]);
    closep(&c->inotify);
    c->inotify = -EBADF;
    free(c->excluded);
    c->excluded = NULL;
    c->n = 0;
}

static bool is_in(const char *names, const char *name)
{
    size_t len = strlen(name);

    while (names && *names != '\0') {
        size_t word = strcspn(names, " ");

        if (word == len && memcmp(names, name, len) == 0)
            return true;
        names += word + (names[word] == ' ');
    }
    return false;
}

static bool is_excluded(const struct guard_cgroups *c, const char *name)
{
    for (size_t i = 0; i < ELEMENTSOF(never); i++)
        if (streq(name, never[i]))
            return true;
    return is_in(c->excluded, name);
}

void guard_cgroups_exclude(struct guard_cgroups *c, const char *names)
{
    char *copy = strdup(names);

    if (!copy)
        return;
    free(c->excluded);
    c->excluded = copy;
    for (size_t i = 0; i < c->n; i++)
        c->list[i].excluded = is_excluded(c, c->list[i].name);
    c->stale = true;
}

static bool is_known(const struct guard_cgroups *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (guard_cgroup_is_open(&c->list[i]) && streq(c->list[i].name, name))
            return true;
    return false;
}

static void drop_closed(struct guard_cgroups *c)
{
    size_t kept = 0;

    for (size_t i = 0; i < c->n; i++) {
        struct guard_cgroup *g = &c->list[i];

        if (g->excluded && !guard_cgroup_is_ours(g))
            guard_cgroup_close(g);
        if (guard_cgroup_is_open(g))
            c->list[kept++] = *g;
    }
    c->n = kept;
}

static void add(struct guard_cgroups *c, const char *name)
{
    struct guard_cgroup g;
    char path[PATH_MAX];

    guard_cgroup_init(&g, name);
    /* No memory controller in it (yet), or gone again. */
    if (guard_cgroup_open(&g, c->root) < 0)
        return;
    if (c->n == GUARD_CGROUPS_MAX) {
        guard_cgroup_close(&g);
        c->left_out++;
        return;
    }
    /* Without the watch, another writer is found out at the next look. */
    if (snprintf(path, sizeof(path), "%s/%s/memory.high", c->root, name) < (int)sizeof(path))
        (void)inotify_add_watch(c->inotify, path, IN_MODIFY);
    c->list[c->n++] = g;
}

void guard_cgroups_scan(struct guard_cgroups *c)
{
    DIR *d;

    if (c->root_watch < 0)
        c->root_watch =
                inotify_add_watch(c->inotify, c->root, IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_ONLYDIR);
    c->stale = false;
    c->left_out = 0;
    drop_closed(c);
    d = opendir(c->root);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));)
        if ((e->d_type == DT_DIR || e->d_type == DT_UNKNOWN) && guard_cgroup_name_is_valid(e->d_name) &&
                !is_excluded(c, e->d_name) && !is_known(c, e->d_name))
            add(c, e->d_name);
    closedir(d);
}

/* Its files cannot be read any more, and a new cgroup may have the same name. */
static void forget(struct guard_cgroups *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (streq(c->list[i].name, name))
            guard_cgroup_close(&c->list[i]);
}

bool guard_cgroups_take_events(struct guard_cgroups *c)
{
    union {
        struct inotify_event event;
        char bytes[4096];
    } buf;
    bool any = false;
    ssize_t n;

    while ((n = read(c->inotify, &buf, sizeof(buf))) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const void *)(buf.bytes + at);

            if (e->wd == c->root_watch || (e->mask & IN_Q_OVERFLOW))
                c->stale = true;
            if (e->wd == c->root_watch && (e->mask & IN_DELETE) && e->len > 0)
                forget(c, e->name);
            any = any || !(e->mask & IN_IGNORED);
            at += (ssize_t)(sizeof(*e) + e->len);
        }
    return any;
}
