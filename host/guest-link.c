/* SPDX-License-Identifier: MIT */
#include "guest-link.h"

#include <glib.h>

#include "dial.h"
#include "log.h"
#include "ratelimit.h"
#include "service.h"
#include "stream.h"

/* Most that waits for a guest that does not read. */
#define OUT_MAX (64UL * 1024)
/* A guest asks 10 times a second and says its stats on level changes: more lines than these are a flood. */
#define LINES_MAX 2000u
/* That many lines of half the maximum length. */
#define BYTES_MAX (4u * 1024 * 1024)
/* It connects when it starts, and every 250 ms while that fails. */
#define ENTRIES_MAX 100u
#define ACCURACY_USEC (10 * USEC_PER_MSEC)

struct guest_link {
    sd_event *event;
    char *what;
    const struct guest_link_ops *ops;
    void *userdata;

    struct dial *dial; /* NULL: it comes by itself */
    struct stream *stream;
    sd_event_source *cut_timer;
    bool cut; /* not listened to for a time */

    struct fault_window bad;
    struct fault_window lines;
    struct fault_window bytes;
    struct fault_window entries;
    struct log_repeat log_bad;
    struct log_repeat log_cut;
    struct log_repeat log_lost;
    struct log_repeat log_encode;
    struct log_repeat log_entry;
};

static void hang_up_at(struct guest_link *l, int level, const char *why)
{
    l->stream = stream_free(l->stream);
    log_repeated(&l->log_lost, now_usec(), level, "%s: %s; %s", l->what, why,
            l->dial ? "connecting again" : "waiting for it");
    /* Nobody gets out of a cut by a new connection, which ends when it does not read. */
    if (l->dial)
        dial_again(l->dial);
    l->ops->down(l, l->userdata);
}

static void hang_up(struct guest_link *l, const char *why)
{
    hang_up_at(l, LOG_NOTICE, why);
}

void guest_link_send(struct guest_link *l, const struct channel_message *m)
{
    char buf[CHANNEL_LINE_MAX];
    size_t len;
    int r;

    if (!l->stream)
        return;
    r = channel_encode(m, buf, sizeof(buf), &len);
    if (r < 0) {
        log_repeated(&l->log_encode, now_usec(), LOG_ERR, "%s: cannot encode %s: %s", l->what,
                channel_op_to_string(m->op), strerror(-r));
        return;
    }
    r = stream_send(l->stream, buf, len);
    if (r == -ENOBUFS)
        hang_up(l, "the guest does not read, 64 KiB are waiting");
}

void guest_link_reconnect(struct guest_link *l)
{
    /* Most guests of which nothing is heard have no actuator: that is no fault. */
    if (l->stream && l->dial)
        hang_up_at(l, LOG_INFO, "nothing is heard on it");
}

static void cut_off(struct guest_link *l, const char *why)
{
    l->cut = true;
    log_repeated(&l->log_cut, now_usec(), LOG_WARNING, "%s: %s; not listened to for 10 s", l->what, why);
    (void)stream_pause(l->stream, true);
    (void)sd_event_source_set_time(l->cut_timer, now_usec() + CHANNEL_BAD_LINES_WINDOW_USEC);
    (void)sd_event_source_set_enabled(l->cut_timer, SD_EVENT_ONESHOT);
}

static int on_cut_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct guest_link *l = userdata;

    l->cut = false;
    l->bad = l->lines = l->bytes = (struct fault_window){ 0 };
    if (l->stream)
        (void)stream_pause(l->stream, false);
    return 0;
}

static void on_bad(struct guest_link *l, const char *what)
{
    log_repeated(&l->log_bad, now_usec(), LOG_NOTICE, "%s: %s; dropped", l->what, what);
    if (fault_window_add(&l->bad, CHANNEL_BAD_LINES_MAX, CHANNEL_BAD_LINES_WINDOW_USEC, now_usec()))
        cut_off(l, "more than 100 bad lines in 10 s");
    else
        l->ops->noise(l, l->userdata);
}

static bool is_guests(enum channel_op op)
{
    return op == CHANNEL_HELLO || op == CHANNEL_RESIZE || op == CHANNEL_DECLINED || op == CHANNEL_STATS ||
           op == CHANNEL_PING || op == CHANNEL_PONG || op == CHANNEL_ERROR;
}

/* Answers before it counts: counting may cut the guest off, answering may end the connection. */
static void on_wrong_op(struct guest_link *l, const char *text)
{
    struct channel_message error = { .op = CHANNEL_ERROR };

    g_strlcpy(error.text, text, sizeof(error.text));
    guest_link_send(l, &error);
    if (l->stream)
        on_bad(l, text);
}

static void on_line(struct stream *s, const char *line, size_t len, void *userdata)
{
    struct guest_link *l = userdata;
    struct channel_message m;
    int r;

    if (l->cut)
        return;
    if (fault_window_add(&l->lines, LINES_MAX, CHANNEL_BAD_LINES_WINDOW_USEC, now_usec())) {
        cut_off(l, "more than 2000 lines in 10 s");
        return;
    }
    /* With an empty line a peer ends a line that its predecessor may have left unfinished. */
    if (len == 0)
        return;
    r = channel_decode(line, len, &m);
    if (r == -EOPNOTSUPP)
        on_wrong_op(l, "an op that is not known");
    else if (r < 0)
        on_bad(l, "a line that is no message");
    else if (!is_guests(m.op))
        on_wrong_op(l, "an op that only the host sends");
    else {
        if (l->dial)
            dial_succeeded(l->dial);
        log_repeat_end(&l->log_lost, LOG_INFO, "lost connections");
        l->ops->message(l, &m, l->userdata);
    }
}

static void on_received(struct stream *s, size_t n, void *userdata)
{
    struct guest_link *l = userdata;

    if (!l->cut && fault_window_add_many(
                           &l->bytes, (uint32_t)n, BYTES_MAX, CHANNEL_BAD_LINES_WINDOW_USEC, now_usec()))
        cut_off(l, "more than 4 MiB in 10 s");
}

static void on_oversize(struct stream *s, void *userdata)
{
    struct guest_link *l = userdata;

    if (!l->cut)
        on_bad(l, "a line of more than 4096 bytes");
}

static void on_closed(struct stream *s, int error, void *userdata)
{
    hang_up(userdata, error < 0 ? strerror(-error) : "closed");
}

static const struct stream_ops stream_callbacks = {
    .received = on_received,
    .line = on_line,
    .oversize = on_oversize,
    .closed = on_closed,
};

static void on_connected(int fd, void *userdata)
{
    struct guest_link *l = userdata;
    int r;

    r = stream_new(l->event, fd, CHANNEL_LINE_MAX, OUT_MAX, &stream_callbacks, l, &l->stream);
    if (r < 0) {
        hang_up(l, strerror(-r));
        return;
    }
    if (l->cut)
        (void)stream_pause(l->stream, true);
    l->ops->up(l, l->userdata);
}

int guest_link_accept(struct guest_link *l, int fd)
{
    bool too_often = fault_window_add(&l->entries, ENTRIES_MAX, CHANNEL_BAD_LINES_WINDOW_USEC, now_usec());

    if (l->cut || too_often) {
        log_repeated(&l->log_entry, now_usec(), LOG_NOTICE, "%s: connects %s: closed", l->what,
                l->cut ? "while it is not listened to" : "more than 100 times in 10 s");
        return -EBUSY;
    }
    if (l->stream)
        hang_up(l, "it connects anew");
    on_connected(fd, l);
    return 0;
}

int guest_link_new(sd_event *event, const char *name, const char *path, const struct guest_link_ops *ops,
        void *userdata, struct guest_link **ret)
{
    struct guest_link *l = g_new0(struct guest_link, 1);
    int r;

    l->event = sd_event_ref(event);
    l->what = g_strdup_printf("%s: channel", name);
    l->ops = ops;
    l->userdata = userdata;
    r = sd_event_add_time(event, &l->cut_timer, CLOCK_MONOTONIC, 0, ACCURACY_USEC, on_cut_timer, l);
    if (r >= 0)
        r = sd_event_source_set_enabled(l->cut_timer, SD_EVENT_OFF);
    if (r >= 0 && path)
        r = dial_new(event, l->what, path, on_connected, l, &l->dial);
    if (r >= 0 && path)
        r = dial_start(l->dial);
    if (r < 0) {
        guest_link_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

struct guest_link *guest_link_free(struct guest_link *l)
{
    if (!l)
        return NULL;
    stream_free(l->stream);
    dial_free(l->dial);
    sd_event_source_disable_unref(l->cut_timer);
    sd_event_unref(l->event);
    g_free(l->what);
    g_free(l);
    return NULL;
}
