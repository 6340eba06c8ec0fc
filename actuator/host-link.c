/* SPDX-License-Identifier: MIT */
#include "host-link.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "log.h"
#include "ratelimit.h"
#include "service.h"
#include "stream.h"

/* A port without a client on the host hangs up for ever: leave epoll and look again. */
#define REOPEN_USEC USEC_PER_SEC
#define HELLO_USEC (2 * USEC_PER_SEC)
#define KEEPALIVE_USEC (30 * USEC_PER_SEC)
#define PONG_USEC (5 * USEC_PER_SEC)
#define OUT_MAX (64u * 1024u)

struct host_link {
    sd_event *event;
    sd_event_source *timer;
    struct stream *stream;
    char *port;
    struct channel_message hello;
    const struct host_link_ops *ops;
    void *userdata;
    bool up;
    bool pinged;
    bool cut_off;
    uint64_t heard;
    uint64_t ping_id;
    struct fault_window bad_window;
    struct log_repeat bad_fault;
    struct log_repeat open_fault;
};

static void timer_in(struct host_link *l, uint64_t usec)
{
    (void)sd_event_source_set_time_relative(l->timer, usec);
    (void)sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
}

static void link_down(struct host_link *l, const char *why)
{
    bool was_up = l->up;

    l->stream = stream_free(l->stream);
    l->up = l->pinged = l->cut_off = false;
    timer_in(l, REOPEN_USEC);
    if (was_up) {
        log_warning(
                "host: gone (%s), looking again every %u ms", why, (unsigned)(REOPEN_USEC / USEC_PER_MSEC));
        l->ops->down(l->userdata);
    }
}

static int link_write(struct host_link *l, const struct channel_message *m)
{
    char line[CHANNEL_LINE_MAX];
    size_t len;
    int r = channel_encode(m, line, sizeof(line), &len);

    if (r >= 0)
        r = l->stream ? stream_send(l->stream, line, len) : -ENOTCONN;
    return r;
}

/* A newline first: whoever had the port before may have left half a line in it. */
static void say_hello(struct host_link *l)
{
    if (stream_send(l->stream, "\n", 1) < 0 || link_write(l, &l->hello) < 0)
        log_debug("host: hello could not be said");
}

static void say_error(struct host_link *l, const char *text)
{
    struct channel_message m = { .op = CHANNEL_ERROR };

    (void)snprintf(m.text, sizeof(m.text), "%s", text);
    (void)link_write(l, &m);
}

static void bad_line(struct host_link *l, const char *what)
{
    uint64_t now = now_usec();

    log_repeated(&l->bad_fault, now, LOG_WARNING, "host: line dropped: %s", what);
    if (l->cut_off ||
            !fault_window_add(&l->bad_window, CHANNEL_BAD_LINES_MAX, CHANNEL_BAD_LINES_WINDOW_USEC, now))
        return;
    log_warning("host: more than %u bad lines in %u s, not listening for as long", CHANNEL_BAD_LINES_MAX,
            (unsigned)(CHANNEL_BAD_LINES_WINDOW_USEC / USEC_PER_SEC));
    l->cut_off = true;
    l->bad_window = (struct fault_window){ 0 };
    (void)stream_pause(l->stream, true);
    timer_in(l, CHANNEL_BAD_LINES_WINDOW_USEC);
}

static void take_welcome(struct host_link *l, const struct channel_message *m)
{
    if (m->version != CHANNEL_VERSION) {
        bad_line(l, "welcome of another protocol version");
        return;
    }
    if (!l->up)
        log_info("host: %s answers for VM %s", m->agent, m->vm);
    l->up = true;
    log_repeat_end(&l->open_fault, LOG_INFO, "host: looking for it");
    timer_in(l, KEEPALIVE_USEC);
    l->ops->up(m, l->userdata);
}

static void take_message(struct host_link *l, const struct channel_message *m)
{
    struct channel_message pong = { .op = CHANNEL_PONG, .id = m->id };

    switch (m->op) {
    case CHANNEL_WHO:
        say_hello(l);
        return;
    case CHANNEL_WELCOME:
        take_welcome(l, m);
        return;
    case CHANNEL_PING:
        (void)link_write(l, &pong);
        return;
    case CHANNEL_PONG:
        return;
    case CHANNEL_ERROR:
        log_repeated(&l->bad_fault, now_usec(), LOG_WARNING, "host: did not understand: %s", m->text);
        return;
    case CHANNEL_GRANTED:
    case CHANNEL_REFUSED:
    case CHANNEL_SIZE:
    case CHANNEL_LIMITS:
    case CHANNEL_SHRINK:
    case CHANNEL_ROOM:
        if (l->up)
            l->ops->message(m, l->userdata);
        return;
    case CHANNEL_HELLO:
    case CHANNEL_RESIZE:
    case CHANNEL_DECLINED:
    case CHANNEL_STATS:
        bad_line(l, "an op that only a guest says");
        return;
    case _CHANNEL_OP_MAX:
    case _CHANNEL_OP_INVALID:
        return;
    }
}

static void on_line(struct stream *s, const char *line, size_t len, void *userdata)
{
    struct host_link *l = userdata;
    struct channel_message m;
    int r;

    if (len == 0)
        return;
    r = channel_decode(line, len, &m);
    if (r == -EOPNOTSUPP) {
        say_error(l, "op is not known");
        bad_line(l, "op is not known");
        return;
    }
    if (r < 0) {
        bad_line(l, "not a message of the channel");
        return;
    }
    l->heard = now_usec();
    l->pinged = false;
    take_message(l, &m);
}

static void on_oversize(struct stream *s, void *userdata)
{
    bad_line(userdata, "longer than 4096 bytes");
}

static void on_closed(struct stream *s, int error, void *userdata)
{
    link_down(userdata, error < 0 ? strerror(-error) : "hung up");
}

static const struct stream_ops stream_ops = {
    .line = on_line,
    .oversize = on_oversize,
    .closed = on_closed,
};

static int connect_socket(const char *path)
{
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    if (fd < 0)
        return -errno;
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    (void)memcpy(address.sun_path, path, strlen(path) + 1);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    return TAKE_FD(fd);
}

/* The port's fd, when there is somebody at its other end. */
static int open_port(const char *path)
{
    _cleanup_close_ int fd = -EBADF;
    struct pollfd p;
    struct stat st;

    if (stat(path, &st) < 0)
        return -errno;
    if (S_ISSOCK(st.st_mode))
        return connect_socket(path);
    fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    p = (struct pollfd){ .fd = fd, .events = POLLIN | POLLOUT };
    if (poll(&p, 1, 0) < 0)
        return -errno;
    return p.revents & POLLHUP ? -ENOTCONN : TAKE_FD(fd);
}

static void link_open(struct host_link *l)
{
    int fd = open_port(l->port), r = fd;

    if (fd >= 0)
        r = stream_new(l->event, fd, CHANNEL_LINE_MAX, OUT_MAX, &stream_ops, l, &l->stream);
    if (r < 0) {
        log_repeated(&l->open_fault, now_usec(), LOG_WARNING, "host: %s: %s, looking again every %u ms",
                l->port, r == -ENOTCONN ? "nobody at the other end" : strerror(-r),
                (unsigned)(REOPEN_USEC / USEC_PER_MSEC));
        timer_in(l, REOPEN_USEC);
        return;
    }
    timer_in(l, HELLO_USEC);
    say_hello(l);
}

static void keep_alive(struct host_link *l, uint64_t now)
{
    struct channel_message ping = { .op = CHANNEL_PING };

    if (l->pinged) {
        link_down(l, "no answer to a ping");
        return;
    }
    if (now < l->heard + KEEPALIVE_USEC) {
        timer_in(l, l->heard + KEEPALIVE_USEC - now);
        return;
    }
    ping.id = ++l->ping_id;
    l->pinged = true;
    (void)link_write(l, &ping);
    timer_in(l, PONG_USEC);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct host_link *l = userdata;

    if (l->cut_off) {
        l->cut_off = false;
        (void)stream_pause(l->stream, false);
        say_hello(l);
        timer_in(l, l->up ? KEEPALIVE_USEC : HELLO_USEC);
    } else if (!l->stream)
        link_open(l);
    else if (l->up)
        keep_alive(l, now_usec());
    else {
        say_hello(l);
        timer_in(l, HELLO_USEC);
    }
    return 0;
}

int host_link_new(sd_event *event, const char *port, const struct channel_message *hello,
        const struct host_link_ops *ops, void *userdata, struct host_link **ret)
{
    struct host_link *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->event = sd_event_ref(event);
    l->hello = *hello;
    l->ops = ops;
    l->userdata = userdata;
    l->port = strdup(port);
    r = l->port ? sd_event_add_time_relative(
                          event, &l->timer, CLOCK_MONOTONIC, 0, 50 * USEC_PER_MSEC, on_timer, l)
                : -ENOMEM;
    if (r < 0) {
        host_link_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

struct host_link *host_link_free(struct host_link *l)
{
    if (!l)
        return NULL;
    stream_free(l->stream);
    sd_event_source_disable_unref(l->timer);
    sd_event_unref(l->event);
    free(l->port);
    free(l);
    return NULL;
}

int host_link_send(struct host_link *l, const struct channel_message *m)
{
    return l->up ? link_write(l, m) : -ENOTCONN;
}

bool host_link_is_up(const struct host_link *l)
{
    return l->up;
}
