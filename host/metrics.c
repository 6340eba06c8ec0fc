/* SPDX-License-Identifier: MIT */
#include "metrics.h"

#include <microhttpd.h>
#include <netinet/in.h>

#include "log.h"
#include "metrics-text.h"
#include "service.h"

/* Prometheus asks every 15 s or so, and comes again when its connection was closed. Who begins a request and
 * goes away without ending it holds a place for that long: the library does not look after it before. */
#define CONNECTIONS_MAX 16u
#define CONNECTION_MEMORY (16u * 1024)
#define CONNECTION_SECONDS 5u
/* A daemon that was at its limit accepts again with the next turn, which nothing else would wake. */
#define FULL_USEC (100 * USEC_PER_MSEC)
/* The text is made this often at most, however many ask: for 1,000 VMs it takes some 10 ms. */
#define TEXT_USEC USEC_PER_SEC
#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics {
    sd_event *event;
    struct host *host;
    struct MHD_Daemon *daemon;
    sd_event_source *io;
    sd_event_source *timer;
    char *address;
    unsigned connections;
    bool full;                 /* there were as many as there may be since the last turn */
    struct MHD_Response *text; /* of text_at; those that are being sent hold it too */
    uint64_t text_at;
};

static struct MHD_Response *make_response(struct metrics *m)
{
    unsigned n = host_count(m->host);
    g_autofree struct vm_view *views = g_new(struct vm_view, n + 1);
    GString *out = g_string_new(NULL);
    struct MHD_Response *response;
    struct host_view host;
    gsize len;

    host_view(m->host, &host);
    for (unsigned i = 0; i < n; i++)
        vm_view(host_vm(m->host, i), &views[i]);
    metrics_text(out, &host, host_grants(m->host), views, n);
    len = out->len;
    response = MHD_create_response_from_buffer_with_free_callback(
            len, g_string_free(out, FALSE), (MHD_ContentReaderFreeCallback)g_free);
    if (response)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, CONTENT_TYPE);
    return response;
}

static struct MHD_Response *get_text(struct metrics *m)
{
    uint64_t now = now_usec();

    if (m->text && now < m->text_at + TEXT_USEC)
        return m->text;
    if (m->text)
        MHD_destroy_response(m->text);
    m->text = make_response(m);
    m->text_at = now;
    return m->text;
}

static enum MHD_Result answer_plain(struct MHD_Connection *c, unsigned status, const char *text)
{
    struct MHD_Response *r =
            MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result;

    if (!r)
        return MHD_NO;
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    result = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *c, const char *url,
        const char *method, const char *version, const char *body, size_t *body_size, void **state)
{
    struct metrics *m = userdata;
    struct MHD_Response *text;

    if (!streq(method, MHD_HTTP_METHOD_GET) && !streq(method, MHD_HTTP_METHOD_HEAD))
        return answer_plain(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    if (!streq(url, "/metrics"))
        return answer_plain(c, MHD_HTTP_NOT_FOUND, "the metrics are at /metrics\n");
    text = get_text(m);
    return text ? MHD_queue_response(c, MHD_HTTP_OK, text) : MHD_NO;
}

/* The library's own time-outs, and what it could not finish in one turn. */
static void arm_timer(struct metrics *m)
{
    MHD_UNSIGNED_LONG_LONG msec;
    uint64_t wait = MHD_get_timeout(m->daemon, &msec) == MHD_YES ? msec * USEC_PER_MSEC : USEC_FOREVER;

    if (m->full)
        wait = MIN_OF(wait, FULL_USEC);
    m->full = m->connections >= CONNECTIONS_MAX;
    if (wait == USEC_FOREVER) {
        (void)sd_event_source_set_enabled(m->timer, SD_EVENT_OFF);
        return;
    }
    (void)sd_event_source_set_time_relative(m->timer, wait);
    (void)sd_event_source_set_enabled(m->timer, SD_EVENT_ONESHOT);
}

static void turn(struct metrics *m)
{
    (void)MHD_run(m->daemon);
    arm_timer(m);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    turn(userdata);
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    turn(userdata);
    return 0;
}

static void on_connection(
        void *userdata, struct MHD_Connection *c, void **state, enum MHD_ConnectionNotificationCode what)
{
    struct metrics *m = userdata;

    m->connections += what == MHD_CONNECTION_NOTIFY_STARTED ? 1 : -1;
    if (m->connections >= CONNECTIONS_MAX)
        m->full = true;
}

static void stop(struct metrics *m)
{
    m->io = sd_event_source_disable_unref(m->io);
    if (m->daemon)
        MHD_stop_daemon(m->daemon);
    m->daemon = NULL;
    (void)sd_event_source_set_enabled(m->timer, SD_EVENT_OFF);
}

/* What it says goes to our log, once. */
static void on_log(void *userdata, const char *format, va_list args)
{
    char text[256];

    (void)vsnprintf(text, sizeof(text), format, args);
    g_strchomp(text);
    log_debug("metrics: %s", text);
}

static int start(struct metrics *m, const struct sockaddr_storage *address)
{
    unsigned flags = MHD_USE_EPOLL | MHD_USE_ERROR_LOG | (address->ss_family == AF_INET6 ? MHD_USE_IPv6 : 0);
    const union MHD_DaemonInfo *info;
    struct MHD_Daemon *d;
    int r;

    errno = 0;
    d = MHD_start_daemon(flags, 0, NULL, NULL, on_request, m, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
            MHD_OPTION_SOCK_ADDR, address, MHD_OPTION_NOTIFY_CONNECTION, on_connection, m,
            MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, CONNECTION_SECONDS,
            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_LISTENING_ADDRESS_REUSE,
            1u, MHD_OPTION_END);
    if (!d)
        return errno > 0 ? -errno : -EADDRINUSE;
    info = MHD_get_daemon_info(d, MHD_DAEMON_INFO_EPOLL_FD);
    r = info ? sd_event_add_io(m->event, &m->io, info->epoll_fd, EPOLLIN, on_io, m) : -ENOTSUP;
    if (r < 0) {
        MHD_stop_daemon(d);
        return r;
    }
    m->daemon = d;
    return 0;
}

int metrics_new(sd_event *event, struct host *h, struct metrics **ret)
{
    struct metrics *m = g_new0(struct metrics, 1);
    int r;

    m->event = sd_event_ref(event);
    m->host = h;
    r = sd_event_add_time(event, &m->timer, CLOCK_MONOTONIC, 0, 10 * USEC_PER_MSEC, on_timer, m);
    if (r >= 0)
        r = sd_event_source_set_enabled(m->timer, SD_EVENT_OFF);
    if (r < 0) {
        metrics_free(m);
        return r;
    }
    *ret = m;
    return 0;
}

struct metrics *metrics_free(struct metrics *m)
{
    if (!m)
        return NULL;
    stop(m);
    if (m->text)
        MHD_destroy_response(m->text);
    sd_event_source_disable_unref(m->timer);
    sd_event_unref(m->event);
    g_free(m->address);
    g_free(m);
    return NULL;
}

/* The one before goes on until the new one listens. */
static int listen_there(struct metrics *m, const char *address)
{
    struct MHD_Daemon *before = m->daemon;
    sd_event_source *io_before = TAKE_PTR(m->io);
    struct sockaddr_storage where;
    bool local;
    int r;

    r = metrics_parse_address(address, &where, &local);
    if (r >= 0)
        r = start(m, &where);
    if (r < 0) {
        m->io = io_before;
        return r;
    }
    sd_event_source_disable_unref(io_before);
    if (before)
        MHD_stop_daemon(before);
    if (!local)
        log_warning("metrics: names and sizes of VMs are told to everybody who reaches %s", address);
    log_info("metrics: http://%s/metrics", address);
    return 0;
}

int metrics_listen(struct metrics *m, const char *address, char **ret_error)
{
    bool wanted = address && *address != '\0';
    int r;

    if (wanted && m->daemon && streq(m->address, address))
        return 0;
    r = wanted ? listen_there(m, address) : 0;
    if (r < 0) {
        *ret_error = g_strdup_printf("[Metrics] Listen=%s: %s%s", address, strerror(-r),
                r == -EAFNOSUPPORT || r == -EPERM || r == -EACCES
                        ? "; the unit's drop-in for metrics allows it, see vmtide-host(8)"
                        : "");
        return r;
    }
    if (!wanted)
        stop(m);
    g_free(m->address);
    m->address = g_strdup(address);
    return 0;
}
