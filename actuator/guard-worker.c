/* SPDX-License-Identifier: MIT */
#include "guard-worker.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "guard-lines.h"
#include "service.h"

#define STACK_SIZE (256UL * 1024)
/* Between two looks that arming again asks for: a monitor in a hurry calls every 20 ms. */
#define LOOK_ARMED_USEC (200 * USEC_PER_MSEC)
/* A line that would not be taken back is tried again so often and so many times; later with the next
 * disarming. */
#define RETRY_USEC USEC_PER_SEC
#define RETRIES_MAX 10u
/* A look takes a millisecond or two under TCG and far less elsewhere. Where it takes long, since the
 * processors are busy or have a quota, the worker leaves most of them to the loop, which has to ask for
 * memory. */
#define LOOK_PAUSE_FACTOR 3u
#define LOOK_PAUSE_MAX_USEC (100 * USEC_PER_MSEC)
/* How long to look often after the size was said to move. */
#define MOVING_USEC (2 * USEC_PER_SEC)

struct guard_worker {
    pthread_t thread;
    int wake; /* loop to worker */
    int told; /* worker to loop */

    pthread_mutex_t
            lock; /* of the members up to the next empty line; never held over a system call that waits */
    struct guard_order order;
    bool ordered;
    bool stop;
    char *excluded; /* new ones */
    struct guard_status status;

    /* The worker's own. */
    struct guard_lines lines;
    struct guard_order now;
    struct guard_status last; /* as told */
    enum guard_off handled;   /* what was done last: GUARD_ON, or disarmed for this */
    struct guard_hold hold;
    uint64_t held_since;      /* 0: no task waits at a line */
    struct guard_status held; /* its hold_* of the last hold */
    uint64_t looked_at;
    uint64_t pause;   /* between two looks */
    uint64_t look_at; /* USEC_FOREVER: when something happens */
    uint64_t moving_until;
    uint64_t retry_at; /* USEC_FOREVER: nothing is to be tried again */
    unsigned retries;
};

static void raise_event(int fd)
{
    const uint64_t one = 1;

    while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static void drain_event(int fd)
{
    uint64_t count;

    while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
}

/* The loop is woken for what people are told, not for every move of a line. */
static void tell(struct guard_worker *w, const struct guard_status *s)
{
    bool news = s->off != w->last.off || s->error != w->last.error || s->headroom != w->last.headroom ||
                s->n != w->last.n || s->breached != w->last.breached || s->held != w->last.held ||
                s->holds != w->last.holds || s->lifted != w->last.lifted || s->left_out != w->last.left_out;

    w->last = *s;
    (void)pthread_mutex_lock(&w->lock);
    w->status = *s;
    (void)pthread_mutex_unlock(&w->lock);
    if (news)
        raise_event(w->told);
}

/* Measures how long tasks wait at a line, and notes the cgroup of the first such line. */
static void follow_hold(struct guard_worker *w, uint64_t now)
{
    const struct guard_lines *l = &w->lines;
    bool held = l->armed && l->plan.any_held;

    if (held && w->held_since == 0) {
        w->held_since = now;
        for (size_t i = 0; i < l->sample.n; i++)
            if (l->plan.held[i])
                (void)snprintf(w->held.hold_name, sizeof(w->held.hold_name), "%s", l->planned[i]->name);
    } else if (!held && w->held_since > 0) {
        w->held.holds++;
        w->held.hold_usec = now - w->held_since;
        w->held_since = 0;
    }
}

static void put_hold(const struct guard_worker *w, struct guard_status *s)
{
    s->held = w->held_since > 0;
    s->holds = w->held.holds;
    s->hold_usec = w->held.hold_usec;
    (void)memcpy(s->hold_name, w->held.hold_name, sizeof(s->hold_name));
}

static void tell_armed(struct guard_worker *w, uint64_t now)
{
    const struct guard_lines *l = &w->lines;
    struct guard_status s = {
        .off = GUARD_ON,
        .headroom = l->plan.headroom,
        .free = l->sample.free,
        .available = l->sample.available,
        .n = l->sample.n,
        .left_out = l->cgroups.left_out,
        .lifted = l->lifted,
        .breached = guard_lines_breached(l, now),
        .mode = l->plan.mode,
        .breaches = l->breaches,
    };

    for (size_t i = 0; i < l->sample.n; i++) {
        s.usage += l->sample.cgroups[i].usage;
        s.lines += l->plan.lines[i];
    }
    /* The last count stays to be told when it is over. */
    if (!s.breached && w->last.breached)
        s.breaches = w->last.breaches;
    follow_hold(w, now);
    put_hold(w, &s);
    w->handled = GUARD_ON;
    tell(w, &s);
}

static void disarm(struct guard_worker *w, enum guard_off off, int error)
{
    struct guard_status s = { .off = off, .error = error };
    int r = guard_lines_disarm(&w->lines);

    w->handled = off;
    if (r < 0) {
        s.off = GUARD_OFF_FAULT;
        s.error = r;
    }
    w->retries = 0;
    w->retry_at = w->lines.left ? now_usec() + RETRY_USEC : USEC_FOREVER;
    if (s.error < 0)
        (void)snprintf(s.where, sizeof(s.where), "%s", w->lines.where);
    w->look_at = USEC_FOREVER;
    w->moving_until = 0;
    follow_hold(w, now_usec());
    put_hold(w, &s);
    tell(w, &s);
}

static void look(struct guard_worker *w, uint64_t now)
{
    int r;

    w->lines.leaving = sub_floor(w->now.size, w->now.requested_size);
    r = guard_lines_look(&w->lines, w->now.headroom, now);
    if (r < 0) {
        disarm(w, r == -ENOENT ? GUARD_OFF_NO_CGROUP : GUARD_OFF_FAULT, r == -ENOENT ? 0 : r);
        return;
    }
    if (guard_hold_step(&w->hold, w->lines.plan.any_held, w->now.requested_size, now)) {
        disarm(w, GUARD_OFF_STALLED, 0);
        return;
    }
    w->looked_at = now_usec();
    w->pause = CLAMP_TO((w->looked_at - now) * LOOK_PAUSE_FACTOR, GUARD_LOOK_MIN_USEC, LOOK_PAUSE_MAX_USEC);
    w->look_at = w->lines.plan.look_usec == USEC_FOREVER
                         ? USEC_FOREVER
                         : w->looked_at + MAX_OF(w->lines.plan.look_usec, w->pause);
    /* A cgroup was created or removed during this look. */
    if (w->lines.cgroups.stale)
        w->look_at = MIN_OF(w->look_at, w->looked_at + w->pause);
    if (now < w->moving_until)
        w->look_at = MIN_OF(w->look_at, w->looked_at + GUARD_LOOK_MAX_USEC);
    tell_armed(w, now);
}

static void look_soon(struct guard_worker *w, uint64_t pause)
{
    w->look_at = MIN_OF(w->look_at, w->looked_at + pause);
}

/* What the loop wants; true: the end. */
static bool take_order(struct guard_worker *w, uint64_t now)
{
    char *excluded;
    bool ordered, stop;

    (void)pthread_mutex_lock(&w->lock);
    excluded = TAKE_PTR(w->excluded);
    ordered = w->ordered;
    stop = w->stop;
    w->now = w->order;
    w->ordered = false;
    w->order.moved = false;
    (void)pthread_mutex_unlock(&w->lock);

    if (excluded) {
        if (guard_lines_exclude(&w->lines, excluded) < 0)
            w->retry_at = now + RETRY_USEC;
        free(excluded);
        look_soon(w, 0);
    }
    if (w->now.moved) {
        w->moving_until = now + MOVING_USEC;
        look_soon(w, 0);
    }
    if (ordered)
        look_soon(w, w->lines.armed ? LOOK_ARMED_USEC : 0);
    return stop;
}

static void retry(struct guard_worker *w, uint64_t now)
{
    if (now < w->retry_at)
        return;
    (void)guard_lines_retry(&w->lines);
    w->retry_at = w->lines.left && ++w->retries < RETRIES_MAX ? now + RETRY_USEC : USEC_FOREVER;
    if (!w->lines.left && !w->lines.armed)
        tell(w, &(struct guard_status){ .off = w->handled });
}

/* Arms, disarms and looks as is due. */
static void step(struct guard_worker *w, uint64_t now)
{
    enum guard_off off = w->now.off;

    if (off == GUARD_ON && now >= w->now.until)
        off = GUARD_OFF_STALE;
    if (off == GUARD_ON && guard_hold_step(&w->hold, false, w->now.requested_size, now))
        off = GUARD_OFF_STALLED;
    if (off == GUARD_ON && !guard_lines_hierarchy(&w->lines))
        off = GUARD_OFF_HIERARCHY;
    if (off != GUARD_ON) {
        if (w->lines.armed || off != w->handled)
            disarm(w, off, 0);
        w->look_at = USEC_FOREVER;
        return;
    }
    if (now >= w->look_at)
        look(w, now);
}

static int timeout_until(uint64_t at, uint64_t now)
{
    if (at == USEC_FOREVER)
        return -1;
    /* Rounded up: a wait that ends too early is one more. */
    return (int)MIN_OF((sub_floor(at, now) + USEC_PER_MSEC - 1) / USEC_PER_MSEC, UINT64_C(60000));
}

static void wait_for_something(struct guard_worker *w)
{
    uint64_t now = now_usec(), until = w->look_at;
    struct pollfd fds[2 + GUARD_CGROUPS_MAX] = {
        { .fd = w->wake, .events = POLLIN },
        { .fd = w->lines.cgroups.inotify, .events = POLLIN },
    };
    size_t n = 2;

    if (w->now.off == GUARD_ON && w->lines.armed)
        until = MIN_OF(until, w->now.until);
    until = MIN_OF(until, w->retry_at);
    /* A look that is due soon reads the counters anyway, and a cgroup held at its line would wake us every 10
     * ms. */
    if (w->lines.armed && (w->look_at == USEC_FOREVER || w->look_at > now + GUARD_LOOK_MIN_USEC))
        for (size_t i = 0; i < w->lines.cgroups.n; i++)
            fds[n++] = (struct pollfd){ .fd = guard_cgroup_watch_fd(&w->lines.cgroups.list[i]),
                .events = POLLPRI };
    if (poll(fds, (nfds_t)n, timeout_until(until, now)) <= 0)
        return;
    if (fds[0].revents & POLLIN)
        drain_event(w->wake);
    if (fds[1].revents & POLLIN)
        (void)guard_cgroups_take_events(&w->lines.cgroups);
    for (size_t i = 1; i < n; i++)
        if (fds[i].revents != 0 && w->lines.armed)
            look_soon(w, w->pause);
    /* A cgroup that was just made gets its line at once. */
    if (w->lines.cgroups.stale && w->lines.armed)
        look_soon(w, 0);
}

static void *worker_main(void *userdata)
{
    struct guard_worker *w = userdata;
    sigset_t set;

    (void)sigfillset(&set);
    (void)sigdelset(&set, SIGUSR1);
    (void)pthread_sigmask(SIG_SETMASK, &set, NULL);
    while (!take_order(w, now_usec())) {
        step(w, now_usec());
        retry(w, now_usec());
        wait_for_something(w);
    }
    disarm(w, GUARD_OFF_EXIT, 0);
    return NULL;
}

static void on_timer_signal(int signo)
{
    /* It only interrupts. */
}

static int start_thread(struct guard_worker *w)
{
    const struct sigaction action = { .sa_handler = on_timer_signal };
    pthread_attr_t attr;
    sigset_t set, old;
    int r;

    if (sigaction(SIGUSR1, &action, NULL) < 0)
        return -errno;
    r = -pthread_attr_init(&attr);
    if (r < 0)
        return r;
    (void)pthread_attr_setstacksize(&attr, STACK_SIZE);
    /* The loop's signals are never the worker's. */
    (void)sigfillset(&set);
    (void)pthread_sigmask(SIG_SETMASK, &set, &old);
    r = -pthread_create(&w->thread, &attr, worker_main, w);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attr);
    return r;
}

static void worker_clear(struct guard_worker *w)
{
    guard_lines_clear(&w->lines);
    closep(&w->wake);
    closep(&w->told);
    (void)pthread_mutex_destroy(&w->lock);
    free(w->excluded);
    free(w);
}

int guard_worker_new(const struct guard_worker_options *o, struct guard_worker **ret)
{
    struct guard_worker *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return -ENOMEM;
    w->order.off = w->status.off = w->last.off = w->handled = GUARD_OFF_ASKED;
    w->look_at = w->retry_at = USEC_FOREVER;
    (void)pthread_mutex_init(&w->lock, NULL);
    w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->told = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = w->wake < 0 || w->told < 0 ? -errno : 0;
    if (r >= 0)
        r = guard_lines_init(&w->lines, o->cgroup, o->procfs, o->saved);
    if (r >= 0)
        r = start_thread(w);
    if (r < 0) {
        worker_clear(w);
        return r;
    }
    *ret = w;
    return 0;
}

struct guard_worker *guard_worker_free(struct guard_worker *w)
{
    if (!w)
        return NULL;
    (void)pthread_mutex_lock(&w->lock);
    w->stop = true;
    (void)pthread_mutex_unlock(&w->lock);
    raise_event(w->wake);
    (void)pthread_join(w->thread, NULL);
    worker_clear(w);
    return NULL;
}

int guard_worker_fd(const struct guard_worker *w)
{
    return w->told;
}

void guard_worker_exclude(struct guard_worker *w, const char *names)
{
    char *copy = strdup(names), *old;

    if (!copy)
        return;
    (void)pthread_mutex_lock(&w->lock);
    old = w->excluded;
    w->excluded = copy;
    (void)pthread_mutex_unlock(&w->lock);
    free(old);
    raise_event(w->wake);
}

void guard_worker_order(struct guard_worker *w, const struct guard_order *order)
{
    bool moved;

    (void)pthread_mutex_lock(&w->lock);
    moved = w->order.moved || order->moved;
    w->order = *order;
    w->order.moved = moved;
    w->ordered = true;
    (void)pthread_mutex_unlock(&w->lock);
    raise_event(w->wake);
}

void guard_worker_status(struct guard_worker *w, struct guard_status *ret)
{
    drain_event(w->told);
    (void)pthread_mutex_lock(&w->lock);
    *ret = w->status;
    (void)pthread_mutex_unlock(&w->lock);
}
