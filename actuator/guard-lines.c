/* SPDX-License-Identifier: MIT */
#include "guard-lines.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/syscall.h>

#include "guard-saved.h"
#include "meminfo.h"
#include "procfile.h"
#include "zoneinfo.h"

/* Exists while systemd-oomd runs (RuntimeDirectory= of its unit). */
#define OOMD_RUNTIME "/run/systemd/oom"

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
        .procfs = procfs,
        .saved = saved,
        .meminfo = -EBADF,
        .zoneinfo = -EBADF,
        .hierarchy = -1,
        .buffer = malloc(PROCFILE_MAX),
    };
    if (!l->buffer)
        return -ENOMEM;
    return guard_cgroups_init(&l->cgroups, cgroup);
}

void guard_lines_clear(struct guard_lines *l)
{
    guard_cgroups_clear(&l->cgroups);
    closep(&l->meminfo);
    closep(&l->zoneinfo);
    if (l->have_timer)
        (void)timer_delete(l->timer);
    l->have_timer = false;
    free(l->buffer);
    l->buffer = NULL;
}

static bool has_our_line(const struct guard_cgroup *s)
{
    return guard_cgroup_is_open(s) && s->begun;
}

bool guard_lines_hierarchy(struct guard_lines *l)
{
    char path[PATH_MAX], text[512], *word, *rest = text;
    size_t len;

    if (l->hierarchy >= 0)
        return l->hierarchy > 0;
    l->hierarchy = 0;
    if (snprintf(path, sizeof(path), "%s/cgroup.controllers", l->cgroups.root) >= (int)sizeof(path) ||
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

static int write_line(struct guard_lines *l, struct guard_cgroup *s, uint64_t line)
{
    int r;

    set_timer(l, GUARD_WRITE_USEC);
    r = guard_cgroup_write(s, line);
    set_timer(l, 0);
    return r;
}

/* -ENODEV and -ENOENT: the cgroup has gone, which is fine. */
static int check(struct guard_lines *l, struct guard_cgroup *s, int r)
{
    if (r != -ENODEV && r != -ENOENT) {
        if (r < 0)
            (void)snprintf(l->where, sizeof(l->where), "%s", s->name);
        return r;
    }
    guard_cgroup_close(s);
    l->cgroups.stale = true;
    return 0;
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
    ret->zones = z;
    return 0;
}

static int read_cgroup(
        struct guard_lines *l, struct guard_cgroup *s, struct guard_cgroup_sample *ret, uint64_t now)
{
    uint64_t breaches = 0;
    /* Clean cache matters only to a cgroup that is held, and memory.stat costs more than all other files. */
    int r = guard_cgroup_breaches(s, &breaches), changed;

    if (r < 0)
        return r;
    if (breaches > 0 && guard_cgroup_is_ours(s)) {
        s->breached_at = now;
        l->breaches += breaches;
    }
    ret->breached = s->breached_at > 0 && now - s->breached_at < GUARD_BREACHED_USEC;
    r = changed = guard_cgroup_read(s, ret->breached && l->plan.mode == GUARD_HOLDING, ret);
    if (r < 0)
        return r;
    ret->breached = s->breached_at > 0 && now - s->breached_at < GUARD_BREACHED_USEC;
    ret->grown = s->last_usage > 0 ? sub_floor(ret->usage, s->last_usage) : 0;
    s->last_usage = ret->usage;
    l->saved_is_stale |= changed > 0;
    return 0;
}

/* systemd-oomd kills a cgroup that waits at its line for long, so the guard lifts the line before that, until
 * the pressure of the cgroup is over. */
static bool is_lifted(struct guard_lines *l, struct guard_cgroup *g, bool look, uint64_t now)
{
    uint32_t some10;

    if (look && l->strain_bound != USEC_FOREVER && guard_cgroup_pressure(g, l->cgroups.root, &some10) >= 0)
        (void)guard_strain_step(&g->strain, some10, l->strain_bound, now);
    return g->strain.lifted;
}

static int lift(struct guard_lines *l, struct guard_cgroup *g)
{
    l->lifted++;
    return guard_cgroup_is_ours(g) ? check(l, g, write_line(l, g, g->limit)) : 0;
}

/* The daemon may be started and stopped while the guard is armed; its files are read when it is seen first.
 */
static void look_for_oomd(struct guard_lines *l)
{
    static const char *const roots[] = { "/etc", "/run", "/usr/local/lib", "/usr/lib" };
    bool runs = access(OOMD_RUNTIME, F_OK) == 0, known = l->armed && l->strain_bound != USEC_FOREVER;

    if (!l->armed || runs != known)
        l->strain_bound = guard_strain_bound(roots, ELEMENTSOF(roots), OOMD_RUNTIME);
}

static int read_cgroups(struct guard_lines *l, struct guard_sample *s, uint64_t now)
{
    bool strain = now >= l->strain_at + GUARD_STRAIN_USEC && guard_lines_breached(l, now);
    int r = 0;

    if (strain)
        l->strain_at = now;
    l->lifted = 0;
    for (size_t i = 0; r >= 0 && i < l->cgroups.n; i++) {
        struct guard_cgroup *g = &l->cgroups.list[i];

        if (!guard_cgroup_is_open(g) || g->excluded)
            continue;
        r = check(l, g, read_cgroup(l, g, &s->cgroups[s->n], now));
        if (r < 0 || !guard_cgroup_is_open(g))
            continue;
        if (is_lifted(l, g, strain || g->strain.lifted, now))
            r = lift(l, g);
        else
            l->planned[s->n++] = g;
    }
    return r;
}

/* Memory after the cgroups: what was taken in between is missing from the lines, not promised twice. */
static int read_all(struct guard_lines *l, uint64_t headroom, uint64_t now)
{
    struct guard_sample s = { .headroom = headroom, .leaving = l->leaving };
    int r = read_cgroups(l, &s, now);

    if (r < 0)
        return r;
    if (s.n + l->lifted == 0)
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
    r = guard_saved_write(l->saved, l->cgroups.list, l->cgroups.n);
    if (r < 0)
        (void)snprintf(l->where, sizeof(l->where), "saved state");
    else
        l->saved_is_stale = false;
    return r;
}

static int write_lines(struct guard_lines *l)
{
    bool written = false;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < l->sample.n; i++) {
        if (!l->plan.write[i])
            continue;
        written = true;
        r = check(l, l->planned[i], write_line(l, l->planned[i], l->plan.lines[i]));
    }
    if (written)
        (void)guard_cgroups_take_events(&l->cgroups);
    return r;
}

int guard_lines_look(struct guard_lines *l, uint64_t headroom, uint64_t now)
{
    int r;

    if (!l->armed)
        l->cpus = (uint32_t)CLAMP_TO(sysconf(_SC_NPROCESSORS_ONLN), 1, 4096);
    if (!l->armed || l->cgroups.stale || now >= l->scanned_at + GUARD_SCAN_USEC) {
        l->scanned_at = now;
        look_for_oomd(l);
        guard_cgroups_scan(&l->cgroups);
    }
    r = read_all(l, headroom, now);
    if (r >= 0)
        r = save(l);
    if (r < 0)
        return r;
    if (!guard_lines_breached(l, now))
        l->breaches = 0;
    guard_plan(&l->sample, &l->plan);
    l->armed = true;
    return write_lines(l);
}

/* Somebody else's value stands as it is. */
static int disarm_cgroup(struct guard_lines *l, struct guard_cgroup *s)
{
    struct guard_cgroup_sample sample;
    int r = guard_cgroup_read(s, false, &sample);

    if (r < 0 || !guard_cgroup_is_ours(s))
        return r;
    return write_line(l, s, s->limit);
}

/* The excluded cgroups, or all. A line that would not be taken back is remembered, so that it is never taken
 * for the administrator's. */
static int take_back(struct guard_lines *l, bool excluded_only)
{
    int error = 0;

    for (size_t i = 0; i < l->cgroups.n; i++) {
        struct guard_cgroup *g = &l->cgroups.list[i];
        int r;

        if (excluded_only && !g->excluded)
            continue;
        r = has_our_line(g) ? check(l, g, disarm_cgroup(l, g)) : 0;
        if (r >= 0)
            guard_cgroup_close(g);
        else if (error == 0)
            error = r;
    }
    l->left = error < 0;
    l->cgroups.stale = true;
    return error;
}

int guard_lines_exclude(struct guard_lines *l, const char *names)
{
    guard_cgroups_exclude(&l->cgroups, names);
    return l->armed ? take_back(l, true) : 0;
}

int guard_lines_disarm(struct guard_lines *l)
{
    bool saved = l->armed || l->left;
    int error = take_back(l, false);

    if (error == 0 && saved && unlink(l->saved) < 0 && errno != ENOENT)
        error = -errno;
    l->armed = false;
    l->saved_is_stale = true;
    l->breaches = 0;
    (void)guard_cgroups_take_events(&l->cgroups);
    return error;
}

int guard_lines_retry(struct guard_lines *l)
{
    return !l->left ? 0 : l->armed ? take_back(l, true) : guard_lines_disarm(l);
}

bool guard_lines_breached(const struct guard_lines *l, uint64_t now)
{
    for (size_t i = 0; i < l->cgroups.n; i++) {
        const struct guard_cgroup *g = &l->cgroups.list[i];

        if (g->breached_at > 0 && now - g->breached_at < GUARD_BREACHED_USEC)
            return true;
    }
    return false;
}
