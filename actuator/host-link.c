/* SPDX-License-Identifier: MIT */
#include "host-link.h"

#include <sys/epoll.h>

#include "link-state.h"
#include "log.h"
#include "port.h"
#include "service.h"
#include "stream.h"
#include "vsock.h"

/* Most that waits for a host that does not read. */
#define OUT_MAX (64UL * 1024)
/* Comings and goings that are said; a host that does it more often than this is said to do so, once. */
#define FLAPS_MAX 5u
#define FLAPS_WINDOW_USEC (60 * USEC_PER_SEC)

struct host_link {
    sd_event *event;
    sd_event_source *timer;
    struct stream *stream;
    sd_event_source *connecting;
    int connecting_fd;
    char *port;
    char *sysfs;
    struct channel_message hello;
    const struct host_link_ops *ops;
    void *userdata;
    struct link_state state;
    bool told_up; /* what ops were told last */
    struct log_repeat bad_fault;
    struct log_repeat deaf_fault;
    struct log_repeat complaint_fault;
    int open_error; /* said already */
    struct fault_window flaps;
    bool quiet;
};

static void arm_timer(struct host_link *l)
{
    (void)sd_event_source_set_time(l->timer, l->state.deadline);
    (void)sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
}

static void say_gone(struct host_link *l, const char *why)
{
    bool was_quiet = l->quiet;

    l->quiet = fault_window_add(&l->flaps, FLAPS_MAX, FLAPS_WINDOW_USEC, now_usec());
    if (!l->quiet)
        log_warning("host: gone (%s)", why);
    else if (!was_quiet)
        log_warning(
                "host: gone (%s) for the %uth time in a minute; its coming and going is not said any more",
                why, FLAPS_MAX + 1);
}

/* Ends every event: the state may have left UP, and the deadline may have moved. */
static void link_settle(struct host_link *l, const char *why)
{
    bool down = l->told_up && l->state.phase != LINK_UP;

    arm_timer(l);
    if (!down)
        return;
    l->told_up = false;
    say_gone(l, why);
    l->ops->down(l->userdata);
}

static void link_close(struct host_link *l, const char *why)
{
    l->stream = stream_free(l->stream);
    link_state_closed(&l->state, now_usec());
    link_settle(l, why);
}

static int link_write(struct host_link *l, const struct channel_message *m)
{
    char line[CHANNEL_LINE_MAX];
    size_t len;
    int r = channel_encode(m, line, sizeof(line), &len);

    if (r < 0)
        return r;
    if (!l->stream)
        return -ENOTCONN;
    r = stream_send(l->stream, line, len);
    if (r < 0) {
        /* Not from inside of whoever writes: the timer hangs up. */
        link_state_broken(&l->state, now_usec());
        arm_timer(l);
    }
    return r;
}

/* A newline first: whoever had the port before may have left half a line in it. */
static void say_hello(struct host_link *l)
{
    if (stream_send(l->stream, "\n", 1) >= 0)
        (void)link_write(l, &l->hello);
}

static void say(struct host_link *l, enum channel_op op, uint64_t id)
{
    struct channel_message m = { .op = op, .id = id };

    (void)link_write(l, &m);
}

static void stop_listening(struct host_link *l, unsigned max, const char *what)
{
    log_repeated(&l->deaf_fault, now_usec(), LOG_WARNING,
            "host: more than %u %s in %u s, not listening for as long", max, what,
            (unsigned)(CHANNEL_BAD_LINES_WINDOW_USEC / USEC_PER_SEC));
    (void)stream_pause(l->stream, true);
}

static void bad_line(struct host_link *l, const char *what)
{
    uint64_t now = now_usec();

    log_repeated(&l->bad_fault, now, LOG_WARNING, "host: line dropped: %s", what);
    if (link_state_bad(&l->state, now))
        stop_listening(l, CHANNEL_BAD_LINES_MAX, "bad lines");
}

static void take_welcome(struct host_link *l, const struct channel_message *m)
{
    if (!l->told_up && !l->quiet)
        log_info("host: %s answers for VM %s", m->agent, m->vm);
    l->told_up = true;
    l->open_error = 0;
    l->ops->up(m, l->userdata);
}

static void act(struct host_link *l, enum link_act what, const struct channel_message *m)
{
    switch (what) {
    case LINK_SAY_HELLO:
        say_hello(l);
        return;
    case LINK_SAY_PING:
        say(l, CHANNEL_PING, l->state.ping_id);
        return;
    case LINK_SAY_PONG:
        say(l, CHANNEL_PONG, m->id);
        return;
    case LINK_WELCOMED:
        take_welcome(l, m);
        return;
    case LINK_PASS_ON:
        l->ops->message(m, l->userdata);
        return;
    case LINK_COMPLAINT:
        log_repeated(&l->complaint_fault, now_usec(), LOG_WARNING, "host: did not understand: %s", m->text);
        return;
    case LINK_BAD:
        bad_line(l, "an op that only a guest says, or another version of the channel");
        return;
    case LINK_LISTEN:
        (void)stream_pause(l->stream, false);
        say_hello(l);
        return;
    case LINK_NOTHING:
    case LINK_OPEN:
    case LINK_GIVE_UP:
    case LINK_HANG_UP:
    case _LINK_ACT_MAX:
    case _LINK_ACT_INVALID:
        return;
    }
}

static void on_line(struct stream *s, const char *line, size_t len, void *userdata)
{
    struct host_link *l = userdata;
    struct channel_message m;
    struct channel_message error = { .op = CHANNEL_ERROR, .text = "op is not known" };
    int r;

    if (link_state_line(&l->state, now_usec())) {
        stop_listening(l, LINK_LINES_MAX, "lines");
        link_settle(l, "too many lines");
        return;
    }
    /* With an empty line a peer ends a line that its predecessor may have left unfinished. */
    if (len == 0)
        return;
    r = channel_decode(line, len, &m);
    if (r >= 0)
        act(l, link_state_message(&l->state, &m, now_usec()), &m);
    else if (r == -EOPNOTSUPP) {
        (void)link_write(l, &error);
        bad_line(l, "op is not known");
    } else
        bad_line(l, "not a message of the channel");
    link_settle(l, l->state.phase == LINK_DEAF ? "too many bad lines" : "it began anew");
}

static void on_received(struct stream *s, size_t n, void *userdata)
{
    struct host_link *l = userdata;

    if (!link_state_received(&l->state, n, now_usec()))
        return;
    stop_listening(l, LINK_BYTES_MAX, "bytes");
    link_settle(l, "too many bytes");
}

static void on_oversize(struct stream *s, void *userdata)
{
    bad_line(userdata, "longer than 4096 bytes");
    link_settle(userdata, "too many bad lines");
}

static void on_closed(struct stream *s, int error, void *userdata)
{
    link_close(userdata, error < 0 ? strerror(-error) : "hung up");
}

static const struct stream_ops stream_ops = {
    .received = on_received,
    .line = on_line,
    .oversize = on_oversize,
    .closed = on_closed,
};

/* Said once for each reason: a VM may be without its host for days. */
static void say_not_open(struct host_link *l, int error)
{
    if (error != l->open_error && !l->quiet)
        log_warning("host: %s: %s, looking again every %u ms", l->port,
                error == -ENOTCONN ? "nobody at the other end" : strerror(-error),
                (unsigned)(LINK_REOPEN_USEC / USEC_PER_MSEC));
    l->open_error = error;
}

/* It did not come to a connection. */
static void link_failed(struct host_link *l, int error)
{
    say_not_open(l, error);
    link_state_closed(&l->state, now_usec());
}

/* Takes fd over. */
static void link_opened(struct host_link *l, int fd)
{
    int r = stream_new(l->event, fd, CHANNEL_LINE_MAX, OUT_MAX, &stream_ops, l, &l->stream);

    if (r < 0) {
        link_failed(l, r);
        return;
    }
    link_state_opened(&l->state, now_usec());
    say_hello(l);
}

static void stop_connecting(struct host_link *l)
{
    l->connecting = sd_event_source_disable_unref(l->connecting);
    closep(&l->connecting_fd);
    l->connecting_fd = -EBADF;
}

static int on_connected(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct host_link *l = userdata;
    int r = vsock_connected(fd);

    l->connecting = sd_event_source_disable_unref(l->connecting);
    if (r < 0) {
        stop_connecting(l);
        link_failed(l, r);
    } else
        link_opened(l, TAKE_FD(l->connecting_fd));
    link_settle(l, "lost");
    return 0;
}

static void link_connecting(struct host_link *l, int fd)
{
    int r;

    l->connecting_fd = fd;
    r = sd_event_add_io(l->event, &l->connecting, fd, EPOLLOUT, on_connected, l);
    if (r >= 0) {
        link_state_connecting(&l->state, now_usec());
        return;
    }
    stop_connecting(l);
    link_failed(l, r);
}

static void link_open(struct host_link *l)
{
    int fd = -EBADF, r = port_open(l->port, l->sysfs, LINK_CONNECT_USEC, &fd);

    if (r < 0)
        link_failed(l, r);
    else if (r > 0)
        link_connecting(l, fd);
    else
        link_opened(l, fd);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct host_link *l = userdata;
    enum link_act what = link_state_timer(&l->state, now_usec());

    if (what == LINK_HANG_UP) {
        link_close(l, l->state.broken ? "it does not read" : "no answer to a ping");
        return 0;
    }
    if (what == LINK_OPEN)
        link_open(l);
    else if (what == LINK_GIVE_UP) {
        stop_connecting(l);
        link_failed(l, -ETIMEDOUT);
    } else
        act(l, what, NULL);
    link_settle(l, "lost");
    return 0;
}

/* Loopback is for trying the channel without a VM. */
static void warn_of_anybody(const char *port)
{
    struct vsock_address to;

    if (vsock_parse(port, &to) >= 0 && vsock_is_anybody(&to))
        log_warning(
                "host: %s: every program of this machine may listen there and be taken for the host; only "
                "ports to %u are root's",
                port, VSOCK_PRIVILEGED_MAX);
}

int host_link_new(sd_event *event, const char *port, const char *sysfs, const struct channel_message *hello,
        const struct host_link_ops *ops, void *userdata, struct host_link **ret)
{
    struct host_link *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->connecting_fd = -EBADF;
    l->event = sd_event_ref(event);
    l->hello = *hello;
    l->ops = ops;
    l->userdata = userdata;
    l->port = strdup(port);
    l->sysfs = strdup(sysfs);
    /* The first look comes from the timer too: one way in. */
    r = l->port && l->sysfs
                ? sd_event_add_time(event, &l->timer, CLOCK_MONOTONIC, 0, 50 * USEC_PER_MSEC, on_timer, l)
                : -ENOMEM;
    if (r < 0) {
        host_link_free(l);
        return r;
    }
    warn_of_anybody(port);
    *ret = l;
    return 0;
}

struct host_link *host_link_free(struct host_link *l)
{
    if (!l)
        return NULL;
    stream_free(l->stream);
    stop_connecting(l);
    sd_event_source_disable_unref(l->timer);
    sd_event_unref(l->event);
    free(l->port);
    free(l->sysfs);
    free(l);
    return NULL;
}

int host_link_send(struct host_link *l, const struct channel_message *m)
{
    return l->state.phase == LINK_UP ? link_write(l, m) : -ENOTCONN;
}

void host_link_renew(struct host_link *l, const char *why)
{
    if (l->state.phase != LINK_UP)
        return;
    link_state_renew(&l->state, now_usec());
    say_hello(l);
    link_settle(l, why);
}
