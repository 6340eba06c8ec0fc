/* SPDX-License-Identifier: MIT */
#include "libvirt-worker-internal.h"

#include <poll.h>
#include <sys/eventfd.h>

#include "log.h"

#define RETRY_MIN_USEC (250 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (2 * USEC_PER_SEC)
/* libvirt's event loop looks for its end this often. */
#define EVENTS_TURN_MSEC 2000
/* The process locks its memory, stacks included. libvirt's client needs a few pages. */
#define STACK_SIZE ((size_t)512 * 1024)

static void work_free(void *p)
{
    struct libvirt_work *work = p;

    g_free(work->domain);
    g_free(work);
}

static void news_clear(struct libvirt_news *n)
{
    if (n->value)
        json_decref(n->value);
    g_free(n->domain);
    g_free(n->text);
}

void libvirt_news_free(struct libvirt_news *n)
{
    if (!n)
        return;
    news_clear(n);
    g_free(n);
}

static void unref(struct libvirt_worker *w)
{
    if (atomic_fetch_sub(&w->refs, 1) > 1)
        return;
    g_queue_clear_full(&w->work, work_free);
    g_queue_clear_full(&w->news, (GDestroyNotify)libvirt_news_free);
    g_hash_table_unref(w->busy);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    close(w->fd);
    g_free(w->uri);
    g_free(w);
}

static void wake_all(struct libvirt_worker *w)
{
    pthread_mutex_lock(&w->lock);
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

void libvirt_give_up(struct libvirt_worker *w)
{
    atomic_store(&w->closed, true);
    wake_all(w);
}

/* LOST has room always: what came before it is of no use without what was dropped. */
static bool has_room(struct libvirt_worker *w, enum libvirt_news_type type)
{
    if (type == LIBVIRT_NEWS_LOST) {
        w->flooded = false;
        return true;
    }
    w->flooded |= g_queue_get_length(&w->news) >= LIBVIRT_NEWS_MAX;
    /* Each time: an event that was on its way when LOST was told may have been the one too many. */
    if (w->flooded) {
        atomic_store(&w->closed, true);
        pthread_cond_broadcast(&w->changed);
    }
    return !w->flooded;
}

void libvirt_tell(struct libvirt_worker *w, struct libvirt_news n)
{
    uint64_t one = 1;
    bool room;

    pthread_mutex_lock(&w->lock);
    room = has_room(w, n.type);
    if (room)
        g_queue_push_tail(&w->news, g_memdup2(&n, sizeof(n)));
    pthread_mutex_unlock(&w->lock);
    if (!room)
        news_clear(&n);
    else if (write(w->fd, &one, sizeof(one)) < 0)
        return; /* it is readable already */
}

struct libvirt_news *libvirt_worker_take(struct libvirt_worker *w)
{
    struct libvirt_news *n;
    uint64_t count;

    pthread_mutex_lock(&w->lock);
    n = g_queue_pop_head(&w->news);
    if (!n && read(w->fd, &count, sizeof(count)) < 0)
        errno = 0;
    pthread_mutex_unlock(&w->lock);
    return n;
}

int libvirt_worker_fd(const struct libvirt_worker *w)
{
    return w->fd;
}

static struct libvirt_work *copy_work(const struct libvirt_work *work)
{
    struct libvirt_work *copy = g_memdup2(work, sizeof(*work));

    copy->domain = g_strdup(work->domain);
    return copy;
}

int libvirt_worker_send(struct libvirt_worker *w, const struct libvirt_work *work)
{
    int r = 0;

    pthread_mutex_lock(&w->lock);
    if (g_queue_get_length(&w->work) >= LIBVIRT_QUEUE_MAX)
        r = -ENOBUFS;
    else {
        g_queue_push_tail(&w->work, copy_work(work));
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return r;
}

static bool is_look(const struct libvirt_work *work)
{
    return work->command < 0;
}

/* One that waits already sees what is new. So many wait as there are domains at most. */
static bool has_look(struct libvirt_worker *w, const char *domain)
{
    for (GList *l = w->work.head; l; l = l->next) {
        const struct libvirt_work *work = l->data;

        if (!is_look(work))
            return false;
        if (streq(work->domain, domain))
            return true;
    }
    return false;
}

void libvirt_look_at(struct libvirt_worker *w, const char *domain)
{
    struct libvirt_work work = { .domain = (char *)domain, .command = _QMP_COMMAND_INVALID };

    pthread_mutex_lock(&w->lock);
    if (!has_look(w, domain)) {
        g_queue_push_head(&w->work, copy_work(&work));
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
}

/* looks: those too. */
static void drop_work(struct libvirt_worker *w, const char *domain, bool looks)
{
    GList *next;

    pthread_mutex_lock(&w->lock);
    for (GList *l = w->work.head; l; l = next) {
        struct libvirt_work *work = l->data;

        next = l->next;
        if ((is_look(work) && !looks) || (domain && !streq(work->domain, domain)))
            continue;
        g_queue_delete_link(&w->work, l);
        work_free(work);
    }
    pthread_mutex_unlock(&w->lock);
}

void libvirt_worker_forget(struct libvirt_worker *w, const char *domain)
{
    drop_work(w, domain, false);
}

char *libvirt_last_error(void)
{
    const char *text = virGetLastErrorMessage();

    return g_strdup(text ?: "unknown error");
}

/* As it is found by then; one that is not there any more is gone. */
static void look(struct libvirt_worker *w, virDomainPtr domain, const char *name)
{
    if (domain)
        libvirt_describe(w, domain, name);
    else if (virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
        libvirt_tell(w, (struct libvirt_news){ .type = LIBVIRT_NEWS_GONE, .domain = g_strdup(name) });
}

static void do_work(struct libvirt_worker *w, virConnectPtr c, const struct libvirt_work *work)
{
    virDomainPtr domain = virDomainLookupByName(c, work->domain);
    struct libvirt_news n = { .type = LIBVIRT_NEWS_REPLY, .id = work->id, .command = work->command };

    if (!is_look(work)) {
        n.value = libvirt_call(domain, work, &n.text);
        n.domain = g_strdup(work->domain);
        libvirt_tell(w, n);
    } else
        look(w, domain, work->domain);
    if (domain)
        virDomainFree(domain);
}

/* The first that may be begun by the thread of this number. The lock is held. */
static struct libvirt_work *take_work(struct libvirt_worker *w, unsigned number)
{
    struct libvirt_work *work;

    if (!w->calls[number] || atomic_load(&w->closed))
        return NULL;
    for (GList *l = w->work.head; l; l = l->next) {
        work = l->data;
        if (g_hash_table_contains(w->busy, work->domain))
            continue;
        g_queue_delete_link(&w->work, l);
        g_hash_table_add(w->busy, work->domain);
        return work;
    }
    return NULL;
}

/* NULL: nobody wants us any more. Else *ret_connection is to be closed. */
static struct libvirt_work *wait_work(
        struct libvirt_worker *w, unsigned number, virConnectPtr *ret_connection)
{
    struct libvirt_work *work = NULL;

    pthread_mutex_lock(&w->lock);
    while (!atomic_load(&w->leaving) && !(work = take_work(w, number)))
        pthread_cond_wait(&w->changed, &w->lock);
    if (work) {
        (void)virConnectRef(w->calls[number]);
        *ret_connection = w->calls[number];
    }
    pthread_mutex_unlock(&w->lock);
    return work;
}

static void end_work(struct libvirt_worker *w, unsigned number, virConnectPtr c, struct libvirt_work *work)
{
    bool alive = virConnectIsAlive(c) == 1;

    pthread_mutex_lock(&w->lock);
    if (!alive && c == w->calls[number])
        atomic_store(&w->closed, true);
    (void)g_hash_table_remove(w->busy, work->domain);
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    work_free(work);
}

static void *run_calls(void *userdata)
{
    struct libvirt_worker *w = userdata;
    unsigned number = atomic_fetch_add(&w->callers, 1);
    struct libvirt_work *work;
    virConnectPtr c;

    while ((work = wait_work(w, number, &c))) {
        do_work(w, c, work);
        end_work(w, number, c, work);
        (void)virConnectClose(c);
    }
    unref(w);
    return NULL;
}

static void set_calls(struct libvirt_worker *w, const struct libvirt_connections *c)
{
    pthread_mutex_lock(&w->lock);
    memcpy(w->calls, c->calls, sizeof(w->calls));
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void wait_closed(struct libvirt_worker *w)
{
    pthread_mutex_lock(&w->lock);
    while (!atomic_load(&w->leaving) && !atomic_load(&w->closed))
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

/* One connection, from its begin to its end. Whether it came to be. */
static bool serve_once(struct libvirt_worker *w)
{
    static const struct libvirt_connections none = { 0 };
    struct libvirt_connections c;
    g_autofree char *why = NULL;
    bool opened;

    atomic_store(&w->closed, false);
    opened = libvirt_connections_open(w, &c) >= 0;
    if (opened) {
        set_calls(w, &c);
        wait_closed(w);
        set_calls(w, &none);
    }
    why = opened ? g_strdup("the connection was lost") : libvirt_last_error();
    libvirt_connections_close(w, &c);
    drop_work(w, NULL, true);
    pthread_mutex_lock(&w->lock);
    if (w->flooded) {
        g_free(why);
        why = g_strdup("it tells more than can be listened to");
    }
    pthread_mutex_unlock(&w->lock);
    libvirt_tell(w, (struct libvirt_news){ .type = LIBVIRT_NEWS_LOST, .text = g_strdup(why) });
    return opened;
}

static void *run_connection(void *userdata)
{
    struct libvirt_worker *w = userdata;
    uint64_t delay = RETRY_MIN_USEC;

    while (!atomic_load(&w->leaving)) {
        if (serve_once(w))
            delay = RETRY_MIN_USEC;
        (void)poll(NULL, 0, (int)(delay / USEC_PER_MSEC));
        delay = MIN_OF(2 * delay, RETRY_MAX_USEC);
    }
    unref(w);
    return NULL;
}

static void on_events_turn(int timer, void *userdata)
{
}

static void *run_events(void *userdata)
{
    struct libvirt_worker *w = userdata;
    int timer = virEventAddTimeout(EVENTS_TURN_MSEC, on_events_turn, NULL, NULL);

    while (!atomic_load(&w->leaving) && virEventRunDefaultImpl() >= 0)
        ;
    if (timer >= 0)
        (void)virEventRemoveTimeout(timer);
    unref(w);
    return NULL;
}

/* What goes wrong comes back as an answer; libvirt would write it to stderr. */
static void on_error(void *userdata, virErrorPtr error)
{
}

static int start_thread(struct libvirt_worker *w, void *(*run)(void *))
{
    pthread_attr_t how;
    pthread_t thread;
    int r;

    (void)pthread_attr_init(&how);
    (void)pthread_attr_setstacksize(&how, STACK_SIZE);
    (void)pthread_attr_setdetachstate(&how, PTHREAD_CREATE_DETACHED);
    atomic_fetch_add(&w->refs, 1);
    r = pthread_create(&thread, &how, run, w);
    if (r > 0)
        atomic_fetch_sub(&w->refs, 1);
    (void)pthread_attr_destroy(&how);
    return -r;
}

int libvirt_worker_new(const char *uri, struct libvirt_worker **ret)
{
    static bool registered;
    struct libvirt_worker *w;
    int r, fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    if (fd < 0)
        return -errno;
    virSetErrorFunc(NULL, on_error);
    if (!registered && (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)) {
        close(fd);
        return -EIO;
    }
    registered = true;
    w = g_new0(struct libvirt_worker, 1);
    atomic_init(&w->refs, 1);
    w->uri = g_strdup(uri);
    w->fd = fd;
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->changed, NULL);
    w->busy = g_hash_table_new(g_str_hash, g_str_equal);
    g_queue_init(&w->work);
    g_queue_init(&w->news);
    r = start_thread(w, run_events);
    if (r >= 0)
        r = start_thread(w, run_connection);
    for (unsigned i = 0; r >= 0 && i < LIBVIRT_CALLS; i++)
        r = start_thread(w, run_calls);
    if (r < 0) {
        libvirt_worker_leave(w);
        return r;
    }
    *ret = w;
    return 0;
}

void libvirt_worker_leave(struct libvirt_worker *w)
{
    if (!w)
        return;
    atomic_store(&w->leaving, true);
    wake_all(w);
    unref(w);
}
