/* SPDX-License-Identifier: MIT */
#include "libvirt.h"

#include <inttypes.h>

#include "libvirt-worker.h"
#include "log.h"
#include "service.h"

/* As with QMP: one set and two queries are asked before their answers, and three more at first. */
#define PENDING_MAX 8u
/* News a turn of the loop, so that others have theirs. */
#define NEWS_TURN_MAX 64u
/* After a command without an answer: is it there again? */
#define PROBE_USEC USEC_PER_SEC
#define ACCURACY_USEC (10 * USEC_PER_MSEC)

struct libvirt {
    sd_event *event;
    sd_event_source *io;
    struct libvirt_worker *worker;
    const struct libvirt_ops *ops;
    void *userdata;
    char *uri;
    char *pid_folder;
    uint64_t next_id;
    bool open;
    bool moved;           /* domains came or went in this turn */
    GHashTable *backends; /* domain → struct domain, borrowed */
    GHashTable *running;  /* domains that ops were told of → struct domain_info */
    GHashTable *unseen;   /* those of them that were not told of since the connection was opened */
    struct log_repeat log_lost;
};

struct pending {
    uint64_t id;
    enum qmp_command command;
    uint64_t deadline;
};

struct domain {
    struct backend backend;
    struct libvirt *libvirt;
    char *name;
    char *what;
    uint64_t timeout;
    sd_event_source *timer;
    bool ready;
    uint64_t probe;                      /* id of the query that makes it ready, 0: none is on its way */
    struct pending pending[PENDING_MAX]; /* in the order sent */
    unsigned n_pending;
    struct log_repeat log_fault;
    struct log_repeat log_error;
    struct log_repeat log_lost;
    struct log_repeat log_ready;
};

static struct domain *to_domain(struct backend *b)
{
    return (struct domain *)(void *)b;
}

static void set_timer(struct domain *d, uint64_t at)
{
    (void)sd_event_source_set_time(d->timer, at);
    (void)sd_event_source_set_enabled(d->timer, SD_EVENT_ONESHOT);
}

static void arm_timer(struct domain *d)
{
    if (!d->ready)
        set_timer(d, now_usec() + PROBE_USEC);
    else if (d->n_pending > 0)
        set_timer(d, d->pending[0].deadline);
    else
        (void)sd_event_source_set_enabled(d->timer, SD_EVENT_OFF);
}

static int put(
        struct domain *d, enum qmp_command command, const char *device, uint64_t value, uint64_t *ret_id)
{
    struct libvirt_work work = {
        .id = d->libvirt->next_id++,
        .domain = d->name,
        .command = command,
        .value = value,
    };
    int r;

    g_strlcpy(work.device, device ?: "", sizeof(work.device));
    r = libvirt_worker_send(d->libvirt->worker, &work);
    if (r >= 0)
        *ret_id = work.id;
    return r;
}

static int domain_send(struct backend *b, enum qmp_command command, const char *device, uint64_t value)
{
    struct domain *d = to_domain(b);
    uint64_t id;
    int r;

    if (!d->ready)
        return -ENOTCONN;
    if (d->n_pending == PENDING_MAX)
        return -EBUSY;
    /* No room is as no answer, since somebody waits for one. */
    r = put(d, command, device, value, &id);
    if (r < 0)
        id = 0;
    d->pending[d->n_pending++] = (struct pending){ id, command, now_usec() + d->timeout };
    arm_timer(d);
    return 0;
}

/* A domain has a backend only while libvirt reports it as running. */
static bool domain_absent(const struct backend *b)
{
    return false;
}

static void domain_complain(struct backend *b, const char *what)
{
    struct domain *d = to_domain(b);

    log_repeated(&d->log_fault, now_usec(), LOG_WARNING, "%s: %s; ignored", d->what, what);
}

/* What was not begun is not to be carried out later: it was decided on what was then. why NULL: it has ended,
 * which is no fault. */
static void lose(struct domain *d, const char *why)
{
    d->n_pending = 0;
    d->probe = 0;
    libvirt_worker_forget(d->libvirt->worker, d->name);
    if (d->ready) {
        d->ready = false;
        if (why)
            log_repeated(&d->log_lost, now_usec(), LOG_WARNING, "%s: %s; trying again", d->what, why);
        d->backend.ops->down(&d->backend, d->backend.userdata);
    }
    arm_timer(d);
}

/* libvirt makes QEMU's sockets itself, so that their owner is not QEMU; but it keeps the pid. */
static pid_t read_pid(const struct domain *d)
{
    g_autofree char *path = g_strdup_printf("%s/%s.pid", d->libvirt->pid_folder, d->name), *text = NULL;

    if (strchr(d->name, '/') || !g_file_get_contents(path, &text, NULL, NULL))
        return 0;
    return (pid_t)CLAMP_TO(g_ascii_strtoll(text, NULL, 10), 0, INT32_MAX);
}

static void become_ready(struct domain *d)
{
    pid_t pid = read_pid(d);

    d->ready = true;
    d->probe = 0;
    arm_timer(d);
    log_repeated(&d->log_ready, now_usec(), LOG_INFO, "%s: connected, process %ld", d->what, (long)pid);
    d->backend.ops->up(&d->backend, pid, d->backend.userdata);
}

static void probe(struct domain *d)
{
    if (d->libvirt->open && d->probe == 0)
        (void)put(d, QMP_QUERY_SUMMARY, NULL, 0, &d->probe);
    arm_timer(d);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct domain *d = userdata;
    char why[128];

    if (!d->ready) {
        probe(d);
        return 0;
    }
    (void)snprintf(why, sizeof(why), "no answer of libvirt to %s in %" PRIu64 " ms",
            qmp_command_to_string(d->pending[0].command), d->timeout / USEC_PER_MSEC);
    lose(d, why);
    return 0;
}

static void domain_free(struct backend *b)
{
    struct domain *d = to_domain(b);

    if (g_hash_table_lookup(d->libvirt->backends, d->name) == d) {
        (void)g_hash_table_remove(d->libvirt->backends, d->name);
        libvirt_worker_forget(d->libvirt->worker, d->name);
    }
    sd_event_source_disable_unref(d->timer);
    g_free(d->name);
    g_free(d->what);
    g_free(d);
}

static const struct backend_class domain_class = {
    .free = domain_free,
    .absent = domain_absent,
    .send = domain_send,
    .complain = domain_complain,
};

int libvirt_backend_new(struct libvirt *l, const char *vm, const char *domain, uint64_t timeout_usec,
        const struct backend_ops *ops, void *userdata, struct backend **ret)
{
    struct domain *d = g_new0(struct domain, 1);
    int r;

    d->backend = (struct backend){ .class = &domain_class, .ops = ops, .userdata = userdata };
    d->libvirt = l;
    d->name = g_strdup(domain);
    d->what = g_strdup_printf("%s: domain %s", vm, domain);
    d->timeout = timeout_usec;
    r = sd_event_add_time(l->event, &d->timer, CLOCK_MONOTONIC, 0, ACCURACY_USEC, on_timer, d);
    if (r < 0) {
        domain_free(&d->backend);
        return r;
    }
    (void)g_hash_table_replace(l->backends, d->name, d);
    *ret = &d->backend;
    return 0;
}

static void on_reply(struct domain *d, const struct libvirt_news *n)
{
    unsigned i = 0;

    if (!d->ready && n->id == d->probe) {
        d->probe = 0;
        if (n->value)
            become_ready(d);
        else
            log_repeated(&d->log_error, now_usec(), LOG_WARNING, "%s: %s", d->what, n->text);
        return;
    }
    while (i < d->n_pending && d->pending[i].id != n->id)
        i++;
    /* Of before it was lost. */
    if (i == d->n_pending)
        return;
    memmove(&d->pending[i], &d->pending[i + 1], (d->n_pending - i - 1) * sizeof(d->pending[0]));
    d->n_pending--;
    arm_timer(d);
    if (!n->value)
        log_repeated(&d->log_error, now_usec(), LOG_WARNING, "%s: %s failed: %s", d->what,
                qmp_command_to_string(n->command), n->text);
    d->backend.ops->reply(&d->backend, n->command, n->value, d->backend.userdata);
}

static void on_lost(struct libvirt *l, const char *why)
{
    GHashTableIter each;
    struct domain *d;

    l->open = false;
    libvirt_worker_forget(l->worker, NULL);
    log_repeated(&l->log_lost, now_usec(), LOG_WARNING, "libvirt %s: %s; connecting again", l->uri, why);
    g_hash_table_iter_init(&each, l->backends);
    while (g_hash_table_iter_next(&each, NULL, (void **)&d))
        lose(d, "libvirt is gone");
}

/* One of the same name may run again before anybody is told that it is settled: that is another process, of
 * which nothing is known. */
static void on_gone(struct libvirt *l, const char *name)
{
    struct domain *d = g_hash_table_lookup(l->backends, name);

    if (!g_hash_table_remove(l->running, name))
        return;
    l->moved = true;
    if (d)
        lose(d, NULL);
    l->ops->gone(name, l->userdata);
}

static void on_opened(struct libvirt *l)
{
    GHashTableIter each;
    char *name;

    l->open = true;
    g_hash_table_remove_all(l->unseen);
    g_hash_table_iter_init(&each, l->running);
    while (g_hash_table_iter_next(&each, (void **)&name, NULL))
        g_hash_table_add(l->unseen, g_strdup(name));
    log_repeat_end(&l->log_lost, LOG_INFO, "lost connections");
    log_info("libvirt %s: connected", l->uri);
}

/* What has ended while nobody listened. */
static void on_listed(struct libvirt *l)
{
    GHashTableIter each;
    char *name;

    g_hash_table_iter_init(&each, l->unseen);
    while (g_hash_table_iter_next(&each, (void **)&name, NULL))
        on_gone(l, name);
    g_hash_table_remove_all(l->unseen);
    l->moved = true;
    l->ops->listed(l->userdata);
}

static void on_runs(struct libvirt *l, const struct libvirt_news *n)
{
    struct domain *d;

    l->moved = true;
    g_hash_table_insert(l->running, g_strdup(n->domain), g_memdup2(&n->info, sizeof(n->info)));
    (void)g_hash_table_remove(l->unseen, n->domain);
    l->ops->runs(n->domain, &n->info, l->userdata);
    d = g_hash_table_lookup(l->backends, n->domain);
    if (d && !d->ready)
        probe(d);
}

void libvirt_tell_again(struct libvirt *l)
{
    const struct domain_info *info;
    GHashTableIter each;
    const char *name;

    g_hash_table_iter_init(&each, l->running);
    while (g_hash_table_iter_next(&each, (void **)&name, (void **)&info))
        l->ops->runs(name, info, l->userdata);
}

static void on_news(struct libvirt *l, const struct libvirt_news *n)
{
    struct domain *d = n->domain ? g_hash_table_lookup(l->backends, n->domain) : NULL;

    switch (n->type) {
    case LIBVIRT_NEWS_OPENED:
        on_opened(l);
        return;
    case LIBVIRT_NEWS_LISTED:
        on_listed(l);
        return;
    case LIBVIRT_NEWS_LOST:
        on_lost(l, n->text);
        return;
    case LIBVIRT_NEWS_RUNS:
        on_runs(l, n);
        return;
    case LIBVIRT_NEWS_GONE:
        on_gone(l, n->domain);
        return;
    case LIBVIRT_NEWS_EVENT:
        if (d && d->ready)
            d->backend.ops->event(&d->backend, n->event, d->backend.userdata);
        return;
    case LIBVIRT_NEWS_REPLY:
        if (d)
            on_reply(d, n);
        return;
    case _LIBVIRT_NEWS_TYPE_MAX:
    case _LIBVIRT_NEWS_TYPE_INVALID:
        return;
    }
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct libvirt *l = userdata;
    struct libvirt_news *n;

    for (unsigned i = 0; i < NEWS_TURN_MAX && (n = libvirt_worker_take(l->worker)); i++) {
        on_news(l, n);
        libvirt_news_free(n);
    }
    if (l->moved)
        l->ops->settled(l->userdata);
    l->moved = false;
    return 0;
}

int libvirt_new(sd_event *event, const char *uri, const char *pid_folder, const struct libvirt_ops *ops,
        void *userdata, struct libvirt **ret)
{
    struct libvirt *l = g_new0(struct libvirt, 1);
    int r;

    l->event = sd_event_ref(event);
    l->ops = ops;
    l->userdata = userdata;
    l->uri = g_strdup(uri);
    l->pid_folder = g_strdup(pid_folder);
    l->next_id = 1;
    l->backends = g_hash_table_new(g_str_hash, g_str_equal);
    l->running = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    l->unseen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    r = libvirt_worker_new(uri, &l->worker);
    if (r >= 0)
        r = sd_event_add_io(event, &l->io, libvirt_worker_fd(l->worker), EPOLLIN, on_io, l);
    if (r < 0) {
        libvirt_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

struct libvirt *libvirt_free(struct libvirt *l)
{
    if (!l)
        return NULL;
    sd_event_source_disable_unref(l->io);
    libvirt_worker_leave(l->worker);
    g_hash_table_unref(l->backends);
    g_hash_table_unref(l->running);
    g_hash_table_unref(l->unseen);
    sd_event_unref(l->event);
    g_free(l->uri);
    g_free(l->pid_folder);
    g_free(l);
    return NULL;
}
