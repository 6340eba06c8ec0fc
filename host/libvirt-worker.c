/* SPDX-License-Identifier: MIT */
#include "libvirt-worker.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "log.h"

/* libvirtd is taken for gone when it does not answer so many of these: 15 s. */
#define KEEPALIVE_SECONDS 5
#define KEEPALIVE_COUNT 3u
#define RETRY_MIN_USEC (250 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (2 * USEC_PER_SEC)
/* libvirt's event loop looks for its end this often. */
#define EVENTS_TURN_MSEC 2000

#define EVENTS_MAX 5u

/* A process has one event loop of libvirt's, and it has to turn beside the calls: it serves the keepalives
 * that end a call that is not answered. Shared by the two threads and the loop, and freed by the last. */
struct libvirt_worker {
    atomic_int refs;
    atomic_bool leaving;
    atomic_bool closed; /* the connection, as the event loop has seen */
    char *uri;
    int fd;

    pthread_mutex_t lock; /* of the two queues */
    pthread_cond_t work_there;
    GQueue work; /* of struct libvirt_work */
    GQueue news; /* of struct libvirt_news */

    virConnectPtr connection;  /* the calls' thread's, as the next */
    int callbacks[EVENTS_MAX]; /* ids of libvirt's; -1: none. Each holds the connection */
};

static void work_free(void *p)
{
    struct libvirt_work *work = p;

    g_free(work->domain);
    g_free(work);
}

void libvirt_news_free(struct libvirt_news *n)
{
    if (!n)
        return;
    if (n->value)
        json_decref(n->value);
    g_free(n->domain);
    g_free(n->text);
    g_free(n);
}

static void unref(struct libvirt_worker *w)
{
    if (atomic_fetch_sub(&w->refs, 1) > 1)
        return;
    g_queue_clear_full(&w->work, work_free);
    g_queue_clear_full(&w->news, (GDestroyNotify)libvirt_news_free);
    pthread_cond_destroy(&w->work_there);
    pthread_mutex_destroy(&w->lock);
    close(w->fd);
    g_free(w->uri);
    g_free(w);
}

/* Takes n over. */
static void tell(struct libvirt_worker *w, struct libvirt_news n)
{
    uint64_t one = 1;

    pthread_mutex_lock(&w->lock);
    g_queue_push_tail(&w->news, g_memdup2(&n, sizeof(n)));
    pthread_mutex_unlock(&w->lock);
    if (write(w->fd, &one, sizeof(one)) < 0)
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

/* At the front: what has to be known before commands make sense. */
static int put_work(struct libvirt_worker *w, const struct libvirt_work *work, bool front)
{
    struct libvirt_work *copy;
    int r = 0;

    pthread_mutex_lock(&w->lock);
    if (g_queue_get_length(&w->work) >= LIBVIRT_QUEUE_MAX)
        r = -ENOBUFS;
    else {
        copy = g_memdup2(work, sizeof(*work));
        copy->domain = g_strdup(work->domain);
        if (front)
            g_queue_push_head(&w->work, copy);
        else
            g_queue_push_tail(&w->work, copy);
        pthread_cond_signal(&w->work_there);
    }
    pthread_mutex_unlock(&w->lock);
    return r;
}

int libvirt_worker_send(struct libvirt_worker *w, const struct libvirt_work *work)
{
    return put_work(w, work, false);
}

/* Of libvirt's last error in this thread. */
static char *last_error(void)
{
    const char *text = virGetLastErrorMessage();

    return g_strdup(text ?: "unknown error");
}

/* What a domain is, for the loop. */
static void describe(struct libvirt_worker *w, virDomainPtr domain)
{
    char *xml = virDomainGetXMLDesc(domain, 0);
    struct libvirt_news n = { .type = LIBVIRT_NEWS_RUNS };

    if (xml && domain_xml_describe(xml, &n.info) >= 0 && n.info.n_devices > 0 && n.info.channel[0] != '\0') {
        n.domain = g_strdup(virDomainGetName(domain));
        tell(w, n);
    }
    free(xml);
}

static int describe_all(struct libvirt_worker *w)
{
    virDomainPtr *domains = NULL;
    int n = virConnectListAllDomains(w->connection, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);

    for (int i = 0; i < n; i++) {
        describe(w, domains[i]);
        virDomainFree(domains[i]);
    }
    free(domains);
    if (n < 0)
        return -EIO;
    tell(w, (struct libvirt_news){ .type = LIBVIRT_NEWS_LISTED });
    return 0;
}

static void on_lifecycle_told(struct libvirt_worker *w, const char *name, int event)
{
    struct libvirt_work work = { .domain = (char *)name, .command = _QMP_COMMAND_INVALID };

    if (event == VIR_DOMAIN_EVENT_STARTED)
        (void)put_work(w, &work, true);
    else if (event == VIR_DOMAIN_EVENT_STOPPED || event == VIR_DOMAIN_EVENT_CRASHED)
        tell(w, (struct libvirt_news){ .type = LIBVIRT_NEWS_GONE, .domain = g_strdup(name) });
    else if (event == VIR_DOMAIN_EVENT_SUSPENDED || event == VIR_DOMAIN_EVENT_RESUMED)
        tell(w, (struct libvirt_news){
                        .type = LIBVIRT_NEWS_EVENT,
                        .domain = g_strdup(name),
                        .event = event == VIR_DOMAIN_EVENT_SUSPENDED ? BACKEND_STOPPED : BACKEND_RUNS,
                });
}

static int on_lifecycle(virConnectPtr c, virDomainPtr domain, int event, int detail, void *userdata)
{
    on_lifecycle_told(userdata, virDomainGetName(domain), event);
    return 0;
}

static void tell_event(struct libvirt_worker *w, virDomainPtr domain, enum backend_event event)
{
    tell(w, (struct libvirt_news){
                    .type = LIBVIRT_NEWS_EVENT,
                    .domain = g_strdup(virDomainGetName(domain)),
                    .event = event,
            });
}

static void on_size(
        virConnectPtr c, virDomainPtr domain, const char *alias, unsigned long long size, void *userdata)
{
    tell_event(userdata, domain, BACKEND_SIZE);
}

static void on_reboot(virConnectPtr c, virDomainPtr domain, void *userdata)
{
    tell_event(userdata, domain, BACKEND_RESET);
}

static void on_iteration(virConnectPtr c, virDomainPtr domain, int iteration, void *userdata)
{
    tell_event(userdata, domain, BACKEND_MIGRATING);
}

static void on_job_over(virConnectPtr c, virDomainPtr domain, virTypedParameterPtr p, int n, void *userdata)
{
    tell_event(userdata, domain, BACKEND_MIGRATED);
}

static void on_close(virConnectPtr c, int reason, void *userdata)
{
    struct libvirt_worker *w = userdata;

    atomic_store(&w->closed, true);
    pthread_mutex_lock(&w->lock);
    pthread_cond_signal(&w->work_there);
    pthread_mutex_unlock(&w->lock);
}

static int listen_to(struct libvirt_worker *w)
{
    const struct {
        int id;
        virConnectDomainEventGenericCallback callback;
        bool needed;
    } events[EVENTS_MAX] = {
        { VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), true },
        { VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_size), true },
        { VIR_DOMAIN_EVENT_ID_REBOOT, VIR_DOMAIN_EVENT_CALLBACK(on_reboot), true },
        { VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, VIR_DOMAIN_EVENT_CALLBACK(on_iteration), false },
        { VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_job_over), false },
    };

    for (size_t i = 0; i < EVENTS_MAX; i++) {
        w->callbacks[i] = virConnectDomainEventRegisterAny(
                w->connection, NULL, events[i].id, events[i].callback, w, NULL);
        if (w->callbacks[i] < 0 && events[i].needed)
            return -EIO;
    }
    return 0;
}

static int open_connection(struct libvirt_worker *w)
{
    for (size_t i = 0; i < EVENTS_MAX; i++)
        w->callbacks[i] = -1;
    w->connection = virConnectOpen(w->uri);
    if (!w->connection)
        return -EIO;
    atomic_store(&w->closed, false);
    if (virConnectRegisterCloseCallback(w->connection, on_close, w, NULL) < 0 ||
            virConnectSetKeepAlive(w->connection, KEEPALIVE_SECONDS, KEEPALIVE_COUNT) < 0 || listen_to(w) < 0)
        return -EIO;
    tell(w, (struct libvirt_news){ .type = LIBVIRT_NEWS_OPENED });
    return describe_all(w);
}

static void close_connection(struct libvirt_worker *w, const char *why)
{
    if (w->connection) {
        for (size_t i = 0; i < EVENTS_MAX; i++)
            if (w->callbacks[i] >= 0)
                (void)virConnectDomainEventDeregisterAny(w->connection, w->callbacks[i]);
        (void)virConnectUnregisterCloseCallback(w->connection, on_close);
        (void)virConnectClose(w->connection);
    }
    w->connection = NULL;
    tell(w, (struct libvirt_news){ .type = LIBVIRT_NEWS_LOST, .text = g_strdup(why) });
}

static int set_requested(virDomainPtr domain, const char *xml, const struct libvirt_work *work)
{
    char *device = NULL;
    int r = domain_xml_update(xml, work->device, work->value, &device);

    if (r >= 0)
        r = virDomainUpdateDeviceFlags(domain, device, VIR_DOMAIN_AFFECT_LIVE) < 0 ? -EIO : 0;
    free(device);
    return r;
}

static json_t *query_status(virDomainPtr domain)
{
    int state = VIR_DOMAIN_NOSTATE, reason;

    if (virDomainGetState(domain, &state, &reason, 0) < 0)
        return NULL;
    return json_pack("{s:b}", "running", state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED);
}

/* What QEMU would have answered. NULL: an error, *ret_text. */
static json_t *carry_out(virDomainPtr domain, const struct libvirt_work *work, char **ret_text)
{
    char *xml = domain ? virDomainGetXMLDesc(domain, 0) : NULL;
    json_t *value = NULL;
    int r = xml ? 0 : -EIO;

    if (r >= 0 && work->command == QMP_QUERY_DEVICES)
        r = domain_xml_devices(xml, &value);
    else if (r >= 0 && work->command == QMP_QUERY_SUMMARY)
        r = domain_xml_summary(xml, &value);
    else if (r >= 0 && work->command == QMP_QUERY_STATUS)
        value = query_status(domain);
    else if (r >= 0 && work->command == QMP_SET_REQUESTED) {
        r = set_requested(domain, xml, work);
        value = r >= 0 ? json_object() : NULL;
    } else if (r >= 0)
        value = json_object();
    free(xml);
    if (!value)
        *ret_text = r < 0 && r != -EIO ? g_strdup(strerror(-r)) : last_error();
    return value;
}

static void do_work(struct libvirt_worker *w, const struct libvirt_work *work)
{
    virDomainPtr domain = virDomainLookupByName(w->connection, work->domain);
    struct libvirt_news n = { .type = LIBVIRT_NEWS_REPLY, .id = work->id, .command = work->command };

    if (work->command < 0) {
        if (domain)
            describe(w, domain);
    } else {
        n.value = carry_out(domain, work, &n.text);
        n.domain = g_strdup(work->domain);
        tell(w, n);
    }
    if (domain)
        virDomainFree(domain);
}

/* NULL: the connection has gone, or nobody wants us any more. */
static struct libvirt_work *wait_work(struct libvirt_worker *w)
{
    struct libvirt_work *work = NULL;

    pthread_mutex_lock(&w->lock);
    while (!atomic_load(&w->leaving) && !atomic_load(&w->closed) && !(work = g_queue_pop_head(&w->work)))
        pthread_cond_wait(&w->work_there, &w->lock);
    pthread_mutex_unlock(&w->lock);
    return work;
}

static void serve(struct libvirt_worker *w)
{
    struct libvirt_work *work;

    while ((work = wait_work(w))) {
        do_work(w, work);
        work_free(work);
        if (virConnectIsAlive(w->connection) != 1)
            return;
    }
}

static void drop_work(struct libvirt_worker *w)
{
    pthread_mutex_lock(&w->lock);
    g_queue_clear_full(&w->work, work_free);
    pthread_mutex_unlock(&w->lock);
}

static void *run_calls(void *userdata)
{
    struct libvirt_worker *w = userdata;
    uint64_t delay = RETRY_MIN_USEC;

    while (!atomic_load(&w->leaving)) {
        if (open_connection(w) >= 0) {
            delay = RETRY_MIN_USEC;
            serve(w);
            close_connection(w, "the connection was lost");
        } else {
            g_autofree char *why = last_error();

            close_connection(w, why);
        }
        drop_work(w);
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
    pthread_t thread;
    int r;

    atomic_fetch_add(&w->refs, 1);
    r = pthread_create(&thread, NULL, run, w);
    if (r > 0) {
        atomic_fetch_sub(&w->refs, 1);
        return -r;
    }
    (void)pthread_detach(thread);
    return 0;
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
    (void)pthread_cond_init(&w->work_there, NULL);
    g_queue_init(&w->work);
    g_queue_init(&w->news);
    r = start_thread(w, run_events);
    if (r >= 0)
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
    pthread_mutex_lock(&w->lock);
    pthread_cond_signal(&w->work_there);
    pthread_mutex_unlock(&w->lock);
    unref(w);
}
