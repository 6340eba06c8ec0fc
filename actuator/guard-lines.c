/* SPDX-License-Identifier: MIT */
#include "guard-lines.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/syscall.h>

#include "guard-saved.h"
#include "meminfo.h"
#include "procfile.h"
#include "zoneinfo.h"

static int open_proc(const char *procfs, const char *name, int *ret)
{
    char path[PATH_MAX];
    int fd;

    if (snprintf(path, sizeof(path), "%s/%s", procfs, name) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    *ret = fd;
    return 0;
}

int guard_lines_init(struct guard_lines *l, const char *cgroup, const char *procfs, const char *saved)
{
    *l = (struct guard_lines){
        .cgroup = cgroup,
        .procfs = procfs,
        .saved = saved,
        .meminfo = -EBADF,
        .zoneinfo = -EBADF,
        .inotify = -EBADF,
        .hierarchy = -1,
        .buffer = malloc(PROCFILE_MAX),
    };
    if (!l->buffer)
        return -ENOMEM;
    l->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    return l->inotify < 0 ? -errno : 0;
}

void guard_lines_clear(struct guard_lines *l)
{
    for (size_t i = 0; i < l->n_all; i++)
        guard_slice_close(&l->slices[i]);
    closep(&l->meminfo);
    closep(&l->zoneinfo);
    closep(&l->inotify);
    if (l->have_timer)
        (void)timer_delete(l->timer);
    l->have_timer = false;
    free(l->buffer);
    l->buffer = NULL;
}

static bool has_our_line(const struct guard_slice *s)
{
    return guard_slice_is_open(s) && s->begun;
}

/* Appends the slice of this name: what is known of it, or a closed one. */
static void add_slice(struct guard_lines *l, struct guard_slice *old, size_t n_old, const char *name)
{
    struct guard_slice *s = &l->slices[l->n_all++];

    guard_slice_init(s, name);
    for (size_t i = 0; i < n_old; i++)
        if (has_our_line(&old[i]) && streq(old[i].name, name)) {
            *s = old[i];
            guard_slice_init(&old[i], name);
        }
}

void guard_lines_set_slices(struct guard_lines *l, const char *names)
{
    struct guard_slice old[ELEMENTSOF(l->slices)];
    size_t n_old = l->n_all;

    memcpy(old, l->slices, sizeof(old));
    l->n_all = 0;
    while (*names != '\0' && l->n_all < GUARD_SLICES_MAX) {
        size_t len = strcspn(names, " ");
        char name[GUARD_NAME_MAX + 1];

        if (len > 0) {
            (void)snprintf(name, sizeof(name), "%.*s", (int)len, names);
            add_slice(l, old, n_old, name);
        }
        names += len + (names[len] == ' ');
    }
    l->n = l->n_all;
    for (size_t i = 0; i < n_old; i++)
        if (has_our_line(&old[i]) && l->n_all < ELEMENTSOF(l->slices))
            l->slices[l->n_all++] = old[i];
        else
            guard_slice_close(&old[i]);
}

bool guard_lines_hierarchy(struct guard_lines *l)
{
    char path[PATH_MAX], text[512], *word, *rest = text;
    size_t len;

    if (l->hierarchy >= 0)
        return l->hierarchy > 0;
    l->hierarchy = 0;
    if (snprintf(path, sizeof(path), "%s/cgroup.controllers", l->cgroup) >= (int)sizeof(path) ||
            procfile_read(path, text, sizeof(text), &len) < 0)
        return false;
    while ((word = strsep(&rest, " \n")))
        if (streq(word, "memory"))
            l->hierarchy = 1;
    return l->hierarchy > 0;
}

/* Raises a signal in the calling thread when a write takes too long. */
static void set_timer(struct guard_lines *l, uint64_t usec)
{
    const struct itimerspec time = { .it_value = { .tv_nsec = (long)(usec * NSEC_PER_USEC) } };
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };

    if (!l->have_timer) {
        event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
        l->have_timer = timer_create(CLOCK_MONOTONIC, &event, &l->timer) == 0;
    }
    if (l->have_timer)
        (void)timer_settime(l->timer, 0, &time, NULL);
}

static int write_line(struct guard_lines *l, struct guard_slice *s, uint64_t line)
{
    int r;

    set_timer(l, GUARD_WRITE_USEC);
    r = guard_slice_write(s, line);
    set_timer(l, 0);
    return r;
}

/* -ENODEV and -ENOENT: the slice has gone, which is fine. */
static int check(struct guard_lines *l, struct guard_slice *s, int r)
{
    if (r != -ENODEV && r != -ENOENT) {
        if (r < 0)
            (void)snprintf(l->where, sizeof(l->where), "%s", s->name);
        return r;
    }
    guard_slice_close(s);
    return 0;
}

static void open_missing(struct guard_lines *l)
{
    for (size_t i = 0; i < l->n; i++) {
        struct guard_slice *s = &l->slices[i];
        char path[PATH_MAX];

        if (guard_slice_is_open(s) || guard_slice_open(s, l->cgroup) < 0)
            continue;
        /* Without it, another writer is found out at the next look. */
        if (snprintf(path, sizeof(path), "%s/%s/memory.high", l->cgroup, s->name) < (int)sizeof(path))
            (void)inotify_add_watch(l->inotify, path, IN_MODIFY);
    }
}

void guard_lines_forget_writes(struct guard_lines *l)
{
    char buf[1024];

    while (read(l->inotify, buf, sizeof(buf)) > 0)
        ;
}

static int read_memory(struct guard_lines *l, struct guard_sample *ret)
{
    struct zoneinfo z;
    struct meminfo m;
    size_t len;
    int r = l->meminfo >= 0 ? 0 : open_proc(l->procfs, "meminfo", &l->meminfo);

    if (r >= 0)
        r = procfile_read_fd(l->meminfo, l->buffer, PROCFILE_MAX, &len);
    if (r >= 0)
        r = meminfo_parse(l->buffer, &m);
    if (r < 0)
        return r;
    ret->total = m.total;
    ret->free = m.free;
    ret->available = m.available;
    ret->cpus = l->cpus;
    /* Without them, the headroom alone. */
    if (l->zoneinfo < 0 && open_proc(l->procfs, "zoneinfo", &l->zoneinfo) < 0)
        return 0;
    if (procfile_read_fd(l->zoneinfo, l->buffer, PROCFILE_MAX, &len) < 0 ||
            zoneinfo_parse(l->buffer, (uint64_t)sysconf(_SC_PAGESIZE), &z) < 0)
        return 0;
    ret->have_zones = true;
    ret->kernel_free = z.kernel_free;
    ret->kernel_low = z.kernel_low;
    ret->kernel_file = z.kernel_file;
    return 0;
}

static int read_slice(
        struct guard_lines *l, struct guard_slice *s, struct guard_slice_sample *ret, uint64_t now)
{
    uint64_t breaches = 0;
    /* Clean cache matters to a slice that was breached only, and costs most to read. */
    int r = guard_slice_breaches(s, &breaches), changed;

    if (r < 0)
        return r;
    if (breaches > 0 && guard_slice_is_ours(s)) {
        s->breached_at = now;
        l->breaches += breaches;
    }
    ret->breached = s->breached_at > 0 && now - s->breached_at < GUARD_BREACHED_USEC;
    r = changed = guard_slice_read(s, guard_lines_breached(l, now), ret);
    if (r < 0)
        return r;
    ret->breached = s->breached_at > 0 && now - s->breached_at < GUARD_BREACHED_USEC;
    l->saved_is_stale |= changed > 0;
    return 0;
}

/* Memory after the slices: what was taken in between is missing from the lines, not promised twice. */
static int read_all(struct guard_lines *l, uint64_t headroom, uint64_t now, struct guard_slice **ret_slices)
{
    struct guard_sample s = { .headroom = headroom };
    int r = 0;

    for (size_t i = 0; r >= 0 && i < l->n; i++) {
        struct guard_slice *slice = &l->slices[i];

        if (!guard_slice_is_open(slice))
            continue;
        r = check(l, slice, read_slice(l, slice, &s.slices[s.n], now));
        if (r >= 0 && guard_slice_is_open(slice))
            ret_slices[s.n++] = slice;
    }
    if (r < 0)
        return r;
    if (s.n == 0)
        return -ENOENT;
    r = read_memory(l, &s);
    if (r < 0) {
        (void)snprintf(l->where, sizeof(l->where), "meminfo");
        return r;
    }
    l->sample = s;
    return 0;
}

static int save(struct guard_lines *l)
{
    int r;

    if (!l->saved_is_stale)
        return 0;
    r = guard_saved_write(l->saved, l->slices, l->n_all);
    if (r < 0)
        (void)snprintf(l->where, sizeof(l->where), "saved state");
    else
        l->saved_is_stale = false;
    return r;
}

int guard_lines_look(struct guard_lines *l, uint64_t headroom, uint64_t now)
{
    struct guard_slice *slices[GUARD_SLICES_MAX];
    bool written = false;
    int r;

    if (!l->armed)
        l->cpus = (uint32_t)CLAMP_TO(sysconf(_SC_NPROCESSORS_ONLN), 1, 4096);
    open_missing(l);
    r = read_all(l, headroom, now, slices);
    if (r >= 0)
        r = save(l);
    if (r < 0)
        return r;
    if (!guard_lines_breached(l, now))
        l->breaches = 0;
    guard_plan(&l->sample, &l->plan);
    l->armed = true;
    for (size_t i = 0; r >= 0 && i < l->sample.n; i++) {
        if (!l->plan.write[i])
            continue;
        written = true;
        r = check(l, slices[i], write_line(l, slices[i], l->plan.lines[i]));
    }
    if (written)
        guard_lines_forget_writes(l);
    return r;
}

/* Somebody else's value stands as it is. */
static int disarm_slice(struct guard_lines *l, struct guard_slice *s)
{
    struct guard_slice_sample sample;
    int r = guard_slice_read(s, false, &sample);

    if (r < 0 || !guard_slice_is_ours(s))
        return r;
    return write_line(l, s, s->limit);
}

/* From this slice on; what is done and not held any more is forgotten. One that would not be written is
 * remembered, so that our line is never taken for the administrator's. */
static int take_back(struct guard_lines *l, size_t from)
{
    size_t n = MAX_OF(from, l->n), n_all = l->n_all;
    int error = 0;

    for (size_t i = from; i < n_all; i++) {
        struct guard_slice *s = &l->slices[i];
        int r = has_our_line(s) ? check(l, s, disarm_slice(l, s)) : 0;

        if (r >= 0)
            guard_slice_close(s);
        else if (error == 0)
            error = r;
        if (i >= n && r < 0)
            l->slices[n++] = *s;
    }
    l->n_all = n;
    l->left = error < 0;
    return error;
}

int guard_lines_disarm(struct guard_lines *l)
{
    bool saved = l->armed || l->left;
    int error = take_back(l, 0);

    if (error == 0 && saved && unlink(l->saved) < 0 && errno != ENOENT)
        error = -errno;
    l->armed = false;
    l->saved_is_stale = true;
    l->breaches = 0;
    guard_lines_forget_writes(l);
    return error;
}

int guard_lines_retry(struct guard_lines *l)
{
    return !l->left ? 0 : l->armed ? take_back(l, l->n) : guard_lines_disarm(l);
}

bool guard_lines_breached(const struct guard_lines *l, uint64_t now)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->slices[i].breached_at > 0 && now - l->slices[i].breached_at < GUARD_BREACHED_USEC)
            return true;
    return false;
}
