/* SPDX-License-Identifier: MIT */
#include "metrics.h"

#include <microhttpd.h>
#include <sys/socket.h>
#include <time.h>

#include "log.h"
#include "metrics-listen.h"
#include "metrics-pace.h"
#include "metrics-text.h"
#include "service.h"

/* The VMs come first: whatever is done here is done in turns of some 1 ms, after each turn comes a rest, and
 * whatever else is due in the loop goes before a turn. So all who read the metrics together get a thirteenth
 * of the time, however many they are and whatever they do. The library parses and sends; who comes in, how
 * long he may stay and when the library runs is decided here. */

/* What a request's head and its parsing may take. */
#define CONNECTION_MEMORY (16u * 1024)
/* What is sent in one turn to one client; the kernel doubles it. */
#define SEND_BUFFER (64 * 1024)
#define ENTER_MAX 4u
/* When there is no place or no fd for one who comes. */
#define FULL_USEC (100 * USEC_PER_MSEC)
/* The text is made this often at most, however many ask. */
#define TEXT_USEC USEC_PER_SEC
#define PRIORITY (SD_EVENT_PRIORITY_NORMAL + 10)
#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics {
    sd_event *event;
    struct host *host;
    struct MHD_Daemon *daemon;
    sd_event_source *io;
    sd_event_source *knock; /* the listening socket's */
    sd_event_source *timer;
    int listener;
    char *address;
    bool resting;
    bool resumed;  /* somebody has waited; the library does not say that it wants to run for it */
    bool somebody; /* wants to come in */
    uint64_t full_until;
    struct log_repeat log_accept;
    struct metrics_place places[METRICS_PLACES];
    unsigned entering;
    struct metrics_text *making;
    uint64_t number;           /* of the text that was begun last */
    struct MHD_Response *text; /* the newest; those that are being sent hold theirs too */
    uint64_t text_number;
    uint64_t text_at; /* when it was begun */
};

static uint64_t cpu_usec(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / NSEC_PER_USEC;
}

static void go_on(struct metrics *m, struct metrics_place *p)
{
    if (!p->waits)
        return;
    p->waits = false;
    MHD_resume_connection(p->connection);
    m->resumed = true;
}

/* Its socket is shut, which the library sees in its next run. */
static void cut(struct metrics *m, struct metrics_place *p)
{
    p->cut = true;
    (void)shutdown(p->fd, SHUT_RDWR);
    go_on(m, p);
}

static void run_library(struct metrics *m)
{
    m->resumed = false;
    (void)MHD_run(m->daemon);
}

static void cut_those_over(struct metrics *m, uint64_t now)
{
    for (unsigned i = 0; i < METRICS_PLACES; i++)
        if (!m->places[i].cut && metrics_place_is_over(&m->places[i], m->number, now))
            cut(m, &m->places[i]);
}

static void wake_those_who_wait(struct metrics *m)
{
    for (unsigned i = 0; i < METRICS_PLACES; i++)
        go_on(m, &m->places[i]);
}

static void begin_text(struct metrics *m)
{
    unsigned n = host_count(m->host);
    char **names = g_new0(char *, n + 1);
    struct host_view host;

    host_view(m->host, &host);
    for (unsigned i = 0; i < n; i++)
        names[i] = g_strdup(vm_name(host_vm(m->host, i)));
    m->making = metrics_text_begin(&host, host_grants(m->host), names);
    m->number++;
    m->text_at = now_usec();
}

static bool find_vm(const char *name, struct vm_view *ret, void *userdata)
{
    struct metrics *m = userdata;
    struct vm *vm = host_find(m->host, name);

    if (vm)
        vm_view(vm, ret);
    return vm != NULL;
}

static void free_text(void *text)
{
    metrics_text_free(text);
}

static void end_text(struct metrics *m)
{
    struct metrics_text *t = TAKE_PTR(m->making);
    unsigned n = metrics_text_parts(t);
    g_autofree struct MHD_IoVec *parts = g_new(struct MHD_IoVec, n);
    struct MHD_Response *response;

    for (unsigned i = 0; i < n; i++) {
        const GString *part = metrics_text_part(t, i);

        parts[i] = (struct MHD_IoVec){ .iov_base = part->str, .iov_len = part->len };
    }
    response = MHD_create_response_from_iovec(parts, n, free_text, t);
    if (!response) {
        metrics_text_free(t);
    } else {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, CONTENT_TYPE);
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    if (m->text)
        MHD_destroy_response(m->text);
    m->text = response;
    m->text_number = m->number;
    wake_those_who_wait(m);
}

static enum MHD_Result answer_plain(struct MHD_Connection *c, unsigned status, const char *text)
{
    struct MHD_Response *r =
            MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result;

    if (!r)
        return MHD_NO;
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8");
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    result = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result answer_text(struct metrics *m, struct metrics_place *p)
{
    if (!m->text)
        return MHD_NO;
    p->text = m->text_number;
    return MHD_queue_response(p->connection, MHD_HTTP_OK, m->text);
}

static bool has_body(struct MHD_Connection *c)
{
    const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return (length && !streq(length, "0")) ||
           MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
}

/* Called with a request's head, and again for one that has waited. */
static enum MHD_Result on_request(void *userdata, struct MHD_Connection *c, const char *url,
        const char *method, const char *version, const char *body, size_t *body_size, void **state)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct metrics_place *p = info->socket_context;
    struct metrics *m = userdata;

    if (p->cut)
        return MHD_NO;
    if (*state)
        return answer_text(m, p);
    *state = p;
    p->asked = true;
    if (!streq(method, MHD_HTTP_METHOD_GET) && !streq(method, MHD_HTTP_METHOD_HEAD))
        return answer_plain(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    if (!streq(url, "/metrics"))
        return answer_plain(c, MHD_HTTP_NOT_FOUND, "the metrics are at /metrics\n");
    if (has_body(c))
        return answer_plain(c, MHD_HTTP_BAD_REQUEST, "no body is read\n");
    if (!m->making && m->text && now_usec() < m->text_at + TEXT_USEC)
        return answer_text(m, p);
    if (!m->making)
        begin_text(m);
    p->waits = true;
    MHD_suspend_connection(c);
    return MHD_YES;
}

static void on_connection(
        void *userdata, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode what)
{
    struct metrics *m = userdata;
    struct metrics_place *p = *context ?: &m->places[m->entering];

    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        *p = (struct metrics_place){ 0 };
        return;
    }
    *p = (struct metrics_place){
        .taken = true,
        .begun = now_usec(),
        .fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd,
        .connection = c,
    };
    *context = p;
}

/* False: nobody else comes in this turn. */
static bool let_one_in(struct metrics *m, uint64_t now)
{
    int place = metrics_place_choose(m->places, now), size = SEND_BUFFER, fd;
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);

    fd = place < 0 ? place
                   : accept4(m->listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        m->somebody = place < 0 || errno != EAGAIN;
        if (place >= 0 && m->somebody)
            log_repeated(&m->log_accept, now, LOG_WARNING,
                    "metrics: cannot take a connection: %s; trying again every %u ms", strerror(errno),
                    (unsigned)(FULL_USEC / USEC_PER_MSEC));
        m->full_until = m->somebody ? now + FULL_USEC : 0;
        return false;
    }
    if (m->places[place].taken && !m->places[place].cut)
        cut(m, &m->places[place]);
    if (m->places[place].taken)
        run_library(m);
    if (m->places[place].taken) {
        close(fd);
        return false;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    m->entering = (unsigned)place;
    (void)MHD_add_connection(m->daemon, fd, (struct sockaddr *)&from, len);
    return true;
}

/* When the next turn is to be. */
static uint64_t next_turn(struct metrics *m, uint64_t now)
{
    uint64_t at = metrics_place_deadline(m->places);
    MHD_UNSIGNED_LONG_LONG msec;

    if (m->making || m->resumed)
        return now;
    if (m->somebody)
        at = MIN_OF(at, m->full_until);
    if (MHD_get_timeout(m->daemon, &msec) == MHD_YES)
        at = MIN_OF(at, now + msec * USEC_PER_MSEC);
    return at;
}

static void wake_at(struct metrics *m, uint64_t at)
{
    (void)sd_event_source_set_time(m->timer, at);
    (void)sd_event_source_set_enabled(m->timer, at == USEC_FOREVER ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static void listen_to(struct metrics *m, bool io, bool knock)
{
    (void)sd_event_source_set_enabled(m->io, io ? SD_EVENT_ON : SD_EVENT_OFF);
    (void)sd_event_source_set_enabled(m->knock, knock ? SD_EVENT_ON : SD_EVENT_OFF);
}

static void turn(struct metrics *m)
{
    uint64_t begin = cpu_usec(), now = now_usec();

    cut_those_over(m, now);
    run_library(m);
    if (m->somebody && now >= m->full_until)
        for (unsigned i = 0; i < ENTER_MAX && let_one_in(m, now); i++)
            ;
    if (m->making && metrics_text_step(m->making, find_vm, m))
        end_text(m);
    m->resting = true;
    listen_to(m, false, false);
    wake_at(m, now_usec() + metrics_rest(cpu_usec() - begin));
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct metrics *m = userdata;
    uint64_t now = now_usec(), next = next_turn(m, now);

    m->resting = false;
    if (next <= now) {
        turn(m);
        return 0;
    }
    listen_to(m, true, !m->somebody);
    wake_at(m, next);
    return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct metrics *m = userdata;

    if (!m->resting)
        turn(m);
    return 0;
}

static int on_knock(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct metrics *m = userdata;

    m->somebody = true;
    m->full_until = 0;
    return on_io(source, fd, events, userdata);
}

static void close_listener(struct metrics *m)
{
    m->knock = sd_event_source_disable_unref(m->knock);
    closep(&m->listener);
    m->listener = -EBADF;
    m->somebody = false;
}

static void stop(struct metrics *m)
{
    close_listener(m);
    m->io = sd_event_source_disable_unref(m->io);
    (void)sd_event_source_set_enabled(m->timer, SD_EVENT_OFF);
    if (!m->daemon)
        return;
    wake_those_who_wait(m);
    MHD_stop_daemon(m->daemon);
    m->daemon = NULL;
    m->resting = m->resumed = false;
    m->making = metrics_text_free(m->making);
    if (m->text)
        MHD_destroy_response(m->text);
    m->text = NULL;
}

/* What it says goes to our log, once. */
static void on_log(void *userdata, const char *format, va_list args) _printf_(2, 0);
static void on_log(void *userdata, const char *format, va_list args)
{
    char text[256];

    (void)vsnprintf(text, sizeof(text), format, args);
    g_strchomp(text);
    log_debug("metrics: %s", text);
}

static int start_daemon(struct metrics *m)
{
    const union MHD_DaemonInfo *info;
    int r = -ENOTSUP;

    if (m->daemon)
        return 0;
    m->daemon = MHD_start_daemon(
            MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL,
            NULL, on_request, m, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_NOTIFY_CONNECTION,
            on_connection, m, MHD_OPTION_CONNECTION_LIMIT, METRICS_PLACES, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
            (size_t)CONNECTION_MEMORY, MHD_OPTION_END);
    if (!m->daemon)
        return errno > 0 ? -errno : -ENOMEM;
    info = MHD_get_daemon_info(m->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info)
        r = sd_event_add_io(m->event, &m->io, info->epoll_fd, EPOLLIN, on_io, m);
    if (r >= 0)
        r = sd_event_source_set_priority(m->io, PRIORITY);
    if (r < 0)
        stop(m);
    return r;
}

int metrics_new(sd_event *event, struct host *h, struct metrics **ret)
{
    struct metrics *m = g_new0(struct metrics, 1);
    int r;

    m->event = sd_event_ref(event);
    m->host = h;
    m->listener = -EBADF;
    r = sd_event_add_time(event, &m->timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_timer, m);
    if (r >= 0)
        r = sd_event_source_set_enabled(m->timer, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_source_set_priority(m->timer, PRIORITY);
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
    sd_event_source_disable_unref(m->timer);
    sd_event_unref(m->event);
    g_free(m->address);
    g_free(m);
    return NULL;
}

/* Takes the listening socket over; those who are being served stay. */
static int take_listener(struct metrics *m, int fd)
{
    sd_event_source *knock = NULL;
    int r = start_daemon(m);

    if (r >= 0)
        r = sd_event_add_io(m->event, &knock, fd, EPOLLIN, on_knock, m);
    if (r >= 0)
        r = sd_event_source_set_priority(knock, PRIORITY);
    if (r < 0) {
        sd_event_source_disable_unref(knock);
        close(fd);
        return r;
    }
    close_listener(m);
    m->knock = knock;
    m->listener = fd;
    if (m->resting)
        (void)sd_event_source_set_enabled(knock, SD_EVENT_OFF);
    return 0;
}

/* A socket there, beside ours or in its place when both cannot be: of one port, on one address and on all. */
static int open_listener(struct metrics *m, const char *address, bool *ret_local)
{
    bool local;
    int fd = metrics_listen_on(address, ret_local), r;

    if (fd != -EADDRINUSE || !m->address || !metrics_same_port(address, m->address))
        return fd;
    close_listener(m);
    fd = metrics_listen_on(address, ret_local);
    if (fd >= 0)
        return fd;
    r = metrics_listen_on(m->address, &local);
    if (r >= 0)
        r = take_listener(m, r);
    if (r < 0)
        log_error("metrics: cannot listen on %s again: %s", m->address, strerror(-r));
    return fd;
}

/* The one before goes on until the new one listens. */
static int listen_there(struct metrics *m, const char *address)
{
    bool local;
    int r = open_listener(m, address, &local);

    if (r >= 0)
        r = take_listener(m, r);
    if (r < 0)
        return r;
    if (!local)
        log_warning("metrics: names and sizes of VMs are told to everybody who reaches %s", address);
    log_info("metrics: http://%s/metrics", address);
    return 0;
}

int metrics_listen(struct metrics *m, const char *address, char **ret_error)
{
    bool wanted = address && *address != '\0';
    int r;

    if (wanted && m->listener >= 0 && streq(m->address, address))
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
