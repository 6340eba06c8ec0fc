/* SPDX-License-Identifier: MIT */
#include "qmp.h"

#include <glib.h>
#include <sys/socket.h>

#include "dial.h"
#include "log.h"
#include "ratelimit.h"
#include "service.h"
#include "stream.h"

/* At most one qom-set and two queries are sent before their answers, and three more after connecting. */
#define PENDING_MAX 8u
#define OUT_MAX (64UL * 1024)
/* A peer that talks more nonsense, or more at all, than QEMU ever does is left. The host daemon itself asks
 * 50 times a second at most. */
#define FAULTS_MAX 100u
#define LINES_MAX 5000u
/* That many lines of 6 KiB on average. A reply about all devices of a VM has some 10 KiB, once per second. */
#define BYTES_MAX (32u * 1024 * 1024)
#define FLOOD_WINDOW_USEC (10 * USEC_PER_SEC)
#define ACCURACY_USEC (10 * USEC_PER_MSEC)

enum qmp_state {
    QMP_AWAY,
    QMP_GREETED, /* connected, greeting awaited */
    QMP_NEGOTIATING,
    QMP_READY,
};

struct pending {
    uint64_t id;
    enum qmp_command command;
    uint64_t deadline;
};

struct qmp {
    struct backend backend;
    sd_event *event;
    char *what;
    uint64_t timeout;

    struct dial *dial;
    struct stream *stream;
    sd_event_source *timer;
    enum qmp_state state;
    pid_t peer;
    uint64_t next_id;
    uint64_t greeting_deadline;
    struct pending pending[PENDING_MAX]; /* in the order sent */
    unsigned n_pending;

    /* These count over all connections, since the daemon reconnects after a flood. */
    struct fault_window faults;
    struct fault_window lines;
    struct fault_window bytes;
    struct log_repeat log_fault;
    struct log_repeat log_error;
    struct log_repeat log_lost;
    struct log_repeat log_ready;
    bool proven; /* it has answered a command since it was connected */
};

static void arm_timer(struct qmp *q)
{
    uint64_t deadline = q->n_pending > 0 ? q->pending[0].deadline : USEC_FOREVER;

    if (q->state == QMP_GREETED)
        deadline = q->greeting_deadline;
    if (deadline == USEC_FOREVER) {
        (void)sd_event_source_set_enabled(q->timer, SD_EVENT_OFF);
        return;
    }
    (void)sd_event_source_set_time(q->timer, deadline);
    (void)sd_event_source_set_enabled(q->timer, SD_EVENT_ONESHOT);
}

static void hang_up(struct qmp *q, const char *why)
{
    bool was_ready = q->state == QMP_READY;

    q->stream = stream_free(q->stream);
    q->state = QMP_AWAY;
    q->n_pending = 0;
    arm_timer(q);
    log_repeated(&q->log_lost, now_usec(), LOG_WARNING, "%s: %s; connecting again", q->what, why);
    dial_again(q->dial);
    if (was_ready)
        q->backend.ops->down(&q->backend, q->backend.userdata);
}

static void complain(struct qmp *q, const char *what)
{
    log_repeated(&q->log_fault, now_usec(), LOG_WARNING, "%s: %s; ignored", q->what, what);
}

/* May hang up. */
static void on_fault(struct qmp *q, const char *what)
{
    complain(q, what);
    if (fault_window_add(&q->faults, FAULTS_MAX, FLOOD_WINDOW_USEC, now_usec()))
        hang_up(q, "more than 100 faults in 10 s");
}

static int send_command(struct qmp *q, enum qmp_command command, const char *device, uint64_t value)
{
    char buf[256];
    size_t len;
    int r;

    if (q->n_pending == PENDING_MAX)
        return -EBUSY;
    r = qmp_format(command, q->next_id, device, value, buf, sizeof(buf), &len);
    if (r < 0)
        return r;
    q->pending[q->n_pending++] = (struct pending){
        .id = q->next_id++,
        .command = command,
        .deadline = now_usec() + q->timeout,
    };
    arm_timer(q);
    r = stream_send(q->stream, buf, len);
    if (r < 0 && q->stream)
        hang_up(q, r == -ENOBUFS ? "it does not read" : strerror(-r));
    return r;
}

/* The backend is the first member. */
static struct qmp *to_qmp(struct backend *b)
{
    return (struct qmp *)(void *)b;
}

static void qmp_complain(struct backend *b, const char *what)
{
    complain(to_qmp(b), what);
}

static bool qmp_absent(const struct backend *b)
{
    const struct qmp *q = (const void *)b;

    return q->state == QMP_AWAY && dial_is_refused(q->dial);
}

static int qmp_send(struct backend *b, enum qmp_command command, const char *device, uint64_t value)
{
    struct qmp *q = to_qmp(b);

    return q->state == QMP_READY ? send_command(q, command, device, value) : -ENOTCONN;
}

static void on_ready(struct qmp *q)
{
    q->state = QMP_READY;
    q->proven = false;
    log_repeated(&q->log_ready, now_usec(), LOG_INFO, "%s: connected, process %ld", q->what, (long)q->peer);
    q->backend.ops->up(&q->backend, q->peer, q->backend.userdata);
}

/* One that negotiates and leaves, over and over, is a lost one still. */
static void on_proven(struct qmp *q)
{
    q->proven = true;
    dial_succeeded(q->dial);
    log_repeat_end(&q->log_lost, LOG_INFO, "lost connections");
}

static int take_pending(struct qmp *q, uint64_t id, enum qmp_command *ret)
{
    for (unsigned i = 0; i < q->n_pending; i++)
        if (q->pending[i].id == id) {
            *ret = q->pending[i].command;
            memmove(&q->pending[i], &q->pending[i + 1], (q->n_pending - i - 1) * sizeof(q->pending[0]));
            q->n_pending--;
            arm_timer(q);
            return 0;
        }
    return -ENOENT;
}

static void on_answer(struct qmp *q, const struct qmp_message *m)
{
    enum qmp_command command;

    if (!m->has_id || take_pending(q, m->id, &command) < 0) {
        on_fault(q, "an answer to no command of ours");
        return;
    }
    if (m->kind == QMP_ERROR)
        log_repeated(&q->log_error, now_usec(), LOG_WARNING, "%s: %s failed: %s: %s", q->what,
                qmp_command_to_string(command), m->name, m->text);
    if (command == QMP_CAPABILITIES && m->kind == QMP_ERROR)
        hang_up(q, "it refuses to negotiate");
    else if (command == QMP_CAPABILITIES)
        on_ready(q);
    else {
        if (m->kind == QMP_RETURN && !q->proven)
            on_proven(q);
        q->backend.ops->reply(
                &q->backend, command, m->kind == QMP_RETURN ? m->value : NULL, q->backend.userdata);
    }
}

static void on_event(struct qmp *q, const struct qmp_message *m)
{
    static const struct {
        const char *name;
        enum backend_event event;
    } events[] = {
        { "MEMORY_DEVICE_SIZE_CHANGE", BACKEND_SIZE },
        { "RESET", BACKEND_RESET },
        { "STOP", BACKEND_STOPPED },
        { "RESUME", BACKEND_RUNS },
        /* From a sleep that was there before us: `running` was false. */
        { "WAKEUP", BACKEND_RUNS },
    };
    enum backend_event event = _BACKEND_EVENT_INVALID;

    for (size_t i = 0; i < ELEMENTSOF(events); i++)
        if (streq(m->name, events[i].name))
            event = events[i].event;
    if (streq(m->name, "MIGRATION"))
        event = qmp_is_migrating(m->text) ? BACKEND_MIGRATING : BACKEND_MIGRATED;
    if (event >= 0)
        q->backend.ops->event(&q->backend, event, q->backend.userdata);
}

static void on_message(struct qmp *q, const struct qmp_message *m)
{
    switch (m->kind) {
    case QMP_GREETING:
        if (q->state != QMP_GREETED) {
            on_fault(q, "a second greeting");
            return;
        }
        q->state = QMP_NEGOTIATING;
        (void)send_command(q, QMP_CAPABILITIES, NULL, 0);
        return;
    case QMP_RETURN:
    case QMP_ERROR:
        on_answer(q, m);
        return;
    case QMP_EVENT:
        if (q->state == QMP_READY)
            on_event(q, m);
        return;
    case _QMP_KIND_MAX:
    case _QMP_KIND_INVALID:
        return;
    }
}

static void on_line(struct stream *s, const char *line, size_t len, void *userdata)
{
    struct qmp *q = userdata;
    struct qmp_message m;

    if (fault_window_add(&q->lines, LINES_MAX, FLOOD_WINDOW_USEC, now_usec())) {
        hang_up(q, "more than 5000 lines in 10 s");
        return;
    }
    if (qmp_message_parse(line, len, &m) < 0) {
        on_fault(q, "a line that is no QMP message");
        return;
    }
    on_message(q, &m);
    qmp_message_clear(&m);
}

static void on_received(struct stream *s, size_t n, void *userdata)
{
    struct qmp *q = userdata;

    if (fault_window_add_many(&q->bytes, (uint32_t)n, BYTES_MAX, FLOOD_WINDOW_USEC, now_usec()))
        hang_up(q, "more than 32 MiB in 10 s");
}

static void on_oversize(struct stream *s, void *userdata)
{
    on_fault(userdata, "a line of more than 128 KiB");
}

static void on_closed(struct stream *s, int error, void *userdata)
{
    hang_up(userdata, error < 0 ? strerror(-error) : "it closed the connection");
}

static const struct stream_ops stream_callbacks = {
    .received = on_received,
    .line = on_line,
    .oversize = on_oversize,
    .closed = on_closed,
};

static void on_connected(int fd, void *userdata)
{
    struct qmp *q = userdata;
    struct ucred cred = { 0 };
    socklen_t len = sizeof(cred);
    int r;

    /* Of a listening socket's owner: QEMU, when it has made the socket itself. */
    q->peer = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ? 0 : cred.pid;
    q->state = QMP_GREETED;
    q->greeting_deadline = now_usec() + q->timeout;
    r = stream_new(q->event, fd, QMP_LINE_MAX, OUT_MAX, &stream_callbacks, q, &q->stream);
    if (r < 0) {
        hang_up(q, strerror(-r));
        return;
    }
    arm_timer(q);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct qmp *q = userdata;
    char why[128];

    if (q->state == QMP_GREETED)
        (void)snprintf(why, sizeof(why),
                "no greeting in %llu ms: it serves one client at a time, is there another?",
                (unsigned long long)(q->timeout / USEC_PER_MSEC));
    else
        (void)snprintf(why, sizeof(why), "no answer to %s in %llu ms",
                qmp_command_to_string(q->pending[0].command),
                (unsigned long long)(q->timeout / USEC_PER_MSEC));
    hang_up(q, why);
    return 0;
}

static void qmp_free(struct backend *b)
{
    struct qmp *q = to_qmp(b);

    stream_free(q->stream);
    dial_free(q->dial);
    sd_event_source_disable_unref(q->timer);
    sd_event_unref(q->event);
    g_free(q->what);
    g_free(q);
}

static const struct backend_class qmp_class = {
    .free = qmp_free,
    .absent = qmp_absent,
    .send = qmp_send,
    .complain = qmp_complain,
};

int qmp_new(sd_event *event, const char *name, const char *path, uint64_t timeout_usec,
        const struct backend_ops *ops, void *userdata, struct backend **ret)
{
    struct qmp *q = g_new0(struct qmp, 1);
    int r;

    q->backend = (struct backend){ .class = &qmp_class, .ops = ops, .userdata = userdata };
    q->event = sd_event_ref(event);
    q->what = g_strdup_printf("%s: QEMU's monitor", name);
    q->timeout = timeout_usec;
    q->next_id = 1;
    r = sd_event_add_time(event, &q->timer, CLOCK_MONOTONIC, 0, ACCURACY_USEC, on_timer, q);
    if (r >= 0)
        r = sd_event_source_set_enabled(q->timer, SD_EVENT_OFF);
    if (r >= 0)
        r = dial_new(event, q->what, path, on_connected, q, &q->dial);
    if (r >= 0)
        r = dial_start(q->dial);
    if (r < 0) {
        qmp_free(&q->backend);
        return r;
    }
    *ret = &q->backend;
    return 0;
}
