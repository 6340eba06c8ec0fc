/* SPDX-License-Identifier: MIT */
#include "line-watch.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/inotify.h>

#include "log.h"
#include "procfile.h"

/* memory.events.local has some 8 lines of 20 bytes. */
#define EVENTS_SIZE 512u
/* Holds the pids of some 2,000 kernel threads; only the first part of a longer list is checked. */
#define PROCS_SIZE (16u * 1024u)

struct watched {
    struct line_watch *watch;
    char name[NAME_MAX + 1];
    int fd;
    sd_event_source *source;
};

struct line_watch {
    sd_event *event;
    char *root;
    int inotify;
    sd_event_source *inotify_source;
    struct watched list[LINE_WATCH_MAX];
    size_t n;
    int procs; /* cgroup.procs of the root */
    line_watch_crossed_t crossed;
    void *userdata;
};

static void unwatch(struct watched *w)
{
    w->source = sd_event_source_disable_unref(w->source);
    closep(&w->fd);
    w->fd = -EBADF;
    w->name[0] = '\0';
}

/* The read acknowledges the event. It fails when the cgroup was removed. */
static int on_line_event(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct watched *w = userdata;
    struct line_watch *watch = w->watch;
    char buf[EVENTS_SIZE];

    if (pread(fd, buf, sizeof(buf), 0) < 0) {
        unwatch(w);
        return 0;
    }
    watch->crossed(watch->userdata);
    return 0;
}

static bool is_watched(const struct line_watch *w, const char *name)
{
    for (size_t i = 0; i < w->n; i++)
        if (streq(w->list[i].name, name))
            return true;
    return false;
}

static struct watched *find_free_slot(struct line_watch *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->list[i].fd < 0)
            return &w->list[i];
    return w->n < LINE_WATCH_MAX ? &w->list[w->n++] : NULL;
}

static void watch_cgroup(struct line_watch *w, const char *name)
{
    char path[PATH_MAX], buf[EVENTS_SIZE];
    struct watched *place;
    int fd;

    if (is_watched(w, name) ||
            snprintf(path, sizeof(path), "%s/%s/memory.events.local", w->root, name) >= (int)sizeof(path))
        return;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    place = find_free_slot(w);
    /* This read discards crossings from before the watch. */
    if (!place || pread(fd, buf, sizeof(buf), 0) < 0) {
        close(fd);
        return;
    }
    *place = (struct watched){ .watch = w, .fd = fd };
    (void)snprintf(place->name, sizeof(place->name), "%s", name);
    if (sd_event_add_io(w->event, &place->source, fd, EPOLLPRI, on_line_event, place) < 0)
        unwatch(place);
    else
        (void)sd_event_source_set_enabled(place->source, SD_EVENT_ONESHOT);
}

static void watch_all_cgroups(struct line_watch *w)
{
    DIR *d = opendir(w->root);

    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_type == DT_DIR && e->d_name[0] != '.')
            watch_cgroup(w, e->d_name);
    closedir(d);
}

/* The fd of a removed cgroup signals nothing, and a new cgroup may have the same name. */
static void unwatch_cgroup(struct line_watch *w, const char *name)
{
    for (size_t i = 0; i < w->n; i++)
        if (!name || streq(w->list[i].name, name))
            unwatch(&w->list[i]);
}

static int on_inotify(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    union {
        struct inotify_event event;
        char bytes[4096];
    } buf;
    ssize_t n;

    while ((n = read(fd, &buf, sizeof(buf))) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const void *)(buf.bytes + at);

            if (e->mask & IN_Q_OVERFLOW)
                unwatch_cgroup(userdata, NULL);
            else if ((e->mask & IN_DELETE) && e->len > 0)
                unwatch_cgroup(userdata, e->name);
            at += (ssize_t)(sizeof(*e) + e->len);
        }
    watch_all_cgroups(userdata);
    return 0;
}

static int watch_root(struct line_watch *w)
{
    w->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->inotify < 0)
        return -errno;
    /* Without the hierarchy there are no signals. */
    if (inotify_add_watch(w->inotify, w->root, IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_ONLYDIR) < 0)
        return 0;
    return sd_event_add_io(w->event, &w->inotify_source, w->inotify, EPOLLIN, on_inotify, w);
}

int line_watch_new(sd_event *event, const char *root, line_watch_crossed_t crossed, void *userdata,
        struct line_watch **ret)
{
    struct line_watch *w = calloc(1, sizeof(*w));
    char path[PATH_MAX];
    int r;

    if (!w)
        return -ENOMEM;
    *w = (struct line_watch){ .event = sd_event_ref(event),
        .inotify = -EBADF,
        .procs = -EBADF,
        .crossed = crossed,
        .userdata = userdata };
    w->root = strdup(root);
    r = w->root ? watch_root(w) : -ENOMEM;
    if (r < 0) {
        line_watch_free(w);
        return r;
    }
    if (snprintf(path, sizeof(path), "%s/cgroup.procs", root) < (int)sizeof(path))
        w->procs = open(path, O_RDONLY | O_CLOEXEC);
    watch_all_cgroups(w);
    *ret = w;
    return 0;
}

struct line_watch *line_watch_free(struct line_watch *w)
{
    if (!w)
        return NULL;
    for (size_t i = 0; i < w->n; i++)
        unwatch(&w->list[i]);
    sd_event_source_disable_unref(w->inotify_source);
    closep(&w->inotify);
    closep(&w->procs);
    sd_event_unref(w->event);
    free(w->root);
    free(w);
    return NULL;
}

void line_watch_rearm(struct line_watch *w)
{
    for (size_t i = 0; i < w->n; i++) {
        int enabled = SD_EVENT_OFF;

        if (!w->list[i].source)
            continue;
        (void)sd_event_source_get_enabled(w->list[i].source, &enabled);
        if (enabled == SD_EVENT_OFF)
            (void)sd_event_source_set_enabled(w->list[i].source, SD_EVENT_ONESHOT);
    }
}

bool line_watch_root_is_used(const struct line_watch *w)
{
    char buf[PROCS_SIZE];
    ssize_t n = w->procs < 0 ? -1 : pread(w->procs, buf, sizeof(buf) - 1, 0);

    if (n <= 0)
        return false;
    /* Cut off an incomplete last pid: it would name another process. */
    while (n > 0 && buf[n - 1] != '\n')
        n--;
    buf[n] = '\0';
    for (char *p = buf, *end; *p != '\0'; p = *end == '\n' ? end + 1 : end) {
        long pid = strtol(p, &end, 10);

        if (end == p)
            return false;
        if (pid > 0 && getsid((pid_t)pid) > 0)
            return true;
    }
    return false;
}
