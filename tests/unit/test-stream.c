/* SPDX-License-Identifier: MIT */
/* The line stream over a socketpair: short writes, a queue that is full, ends, and being freed from inside.
 */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "stream.h"

#define LINE_MAX_TEST 16
#define OUT_MAX_TEST (256 * 1024)
#define TURNS 1000

struct world {
    sd_event *event;
    struct stream *stream;
    int peer;
    char heard[4096]; /* every line, each with a bar behind it */
    unsigned oversize;
    unsigned closed;
    int error;
    unsigned lines;
    unsigned free_at;  /* frees the stream from inside of this line */
    unsigned pause_at; /* pauses it */
};

static void on_line(struct stream *s, const char *line, size_t len, void *userdata)
{
    struct world *w = userdata;
    size_t at = strlen(w->heard);

    assert_ptr_equal(s, w->stream);
    assert_int_equal(line[len], '\0');
    assert_true(at + len + 2 < sizeof(w->heard));
    (void)snprintf(w->heard + at, sizeof(w->heard) - at, "%s|", line);
    w->lines++;
    if (w->lines == w->free_at)
        w->stream = stream_free(w->stream);
    else if (w->lines == w->pause_at)
        assert_int_equal(stream_pause(s, true), 0);
}

static void on_oversize(struct stream *s, void *userdata)
{
    ((struct world *)userdata)->oversize++;
}

static void on_closed(struct stream *s, int error, void *userdata)
{
    struct world *w = userdata;

    w->closed++;
    w->error = error;
}

/* The owners do it like this. */
static void on_closed_free(struct stream *s, int error, void *userdata)
{
    struct world *w = userdata;

    on_closed(s, error, userdata);
    w->stream = stream_free(w->stream);
}

static const struct stream_ops keep_ops = { .line = on_line, .oversize = on_oversize, .closed = on_closed };
static const struct stream_ops free_ops = {
    .line = on_line, .oversize = on_oversize, .closed = on_closed_free
};
static const struct stream_ops plain_ops = { .line = on_line, .closed = on_closed };

static void open_world(struct world *w, const struct stream_ops *ops)
{
    int fds[2];

    *w = (struct world){ 0 };
    assert_int_equal(sd_event_new(&w->event), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    w->peer = fds[1];
    assert_int_equal(stream_new(w->event, fds[0], LINE_MAX_TEST, OUT_MAX_TEST, ops, w, &w->stream), 0);
}

static void close_world(struct world *w)
{
    w->stream = stream_free(w->stream);
    closep(&w->peer);
    sd_event_unref(w->event);
}

static void settle(struct world *w)
{
    unsigned turns = 0;

    while (sd_event_run(w->event, 0) > 0)
        assert_true(++turns < TURNS);
}

static void say(struct world *w, const char *text)
{
    assert_int_equal(write(w->peer, text, strlen(text)), strlen(text));
    settle(w);
}

static void test_lines(void **state)
{
    struct world w;

    open_world(&w, &keep_ops);
    say(&w, "one\ntwo\nth");
    assert_string_equal(w.heard, "one|two|");
    say(&w, "r");
    say(&w, "ee\n\n");
    assert_string_equal(w.heard, "one|two|three||");
    /* The longest one, and one byte more. */
    say(&w, "123456789012345\n");
    say(&w, "1234567890123456\nnext\n");
    assert_string_equal(w.heard, "one|two|three||123456789012345|next|");
    assert_int_equal(w.oversize, 1);
    assert_int_equal(w.closed, 0);
    close_world(&w);
    open_world(&w, &plain_ops);
    say(&w, "much more than sixteen bytes\nnext\n");
    assert_string_equal(w.heard, "next|");
    close_world(&w);
}

static void test_end(void **state)
{
    struct world w;

    open_world(&w, &keep_ops);
    assert_int_equal(write(w.peer, "last\nhalf", 9), 9);
    closep(&w.peer);
    w.peer = -EBADF;
    settle(&w);
    assert_string_equal(w.heard, "last|");
    assert_int_equal(w.closed, 1);
    assert_int_equal(w.error, 0);
    assert_int_equal(stream_send(w.stream, "x", 1), -ENOTCONN);
    assert_int_equal(stream_pause(w.stream, true), -ENOTCONN);
    settle(&w);
    assert_int_equal(w.closed, 1);
    close_world(&w);

    /* One side of a socket only. */
    open_world(&w, &free_ops);
    assert_int_equal(shutdown(w.peer, SHUT_WR), 0);
    settle(&w);
    assert_int_equal(w.closed, 1);
    assert_null(w.stream);
    close_world(&w);
}

/* A peer that goes while something waits for it. */
static void test_end_with_output(void **state)
{
    static char block[OUT_MAX_TEST];
    struct world w;
    int r = 0;

    open_world(&w, &free_ops);
    while (r == 0)
        r = stream_send(w.stream, block, 64 * 1024);
    assert_int_equal(r, -ENOBUFS);
    closep(&w.peer);
    w.peer = -EBADF;
    settle(&w);
    assert_int_equal(w.closed, 1);
    assert_null(w.stream);
    close_world(&w);

    open_world(&w, &keep_ops);
    closep(&w.peer);
    w.peer = -EBADF;
    /* The loop tells it, once. */
    assert_int_equal(stream_send(w.stream, "x", 1), 0);
    assert_int_equal(w.closed, 0);
    settle(&w);
    assert_int_equal(w.closed, 1);
    close_world(&w);
}

/* Takes what is there; returns how much, and checks that it goes on as it began. */
static size_t drain(struct world *w, size_t got)
{
    static unsigned char buf[65536];
    ssize_t n;

    while ((n = read(w->peer, buf, sizeof(buf))) > 0)
        for (ssize_t i = 0; i < n; i++, got++)
            assert_int_equal(buf[i], (unsigned char)(got % 251));
    assert_int_equal(errno, EAGAIN);
    return got;
}

static void test_short_writes(void **state)
{
    static char block[1000];
    size_t sent = 0, got = 0;
    struct world w;
    int r;

    open_world(&w, &keep_ops);
    for (;;) {
        for (size_t i = 0; i < sizeof(block); i++)
            block[i] = (char)((sent + i) % 251);
        r = stream_send(w.stream, block, sizeof(block));
        if (r < 0)
            break;
        sent += sizeof(block);
    }
    /* Of what did not fit, nothing was queued. */
    assert_int_equal(r, -ENOBUFS);
    assert_true(sent > OUT_MAX_TEST - sizeof(block));
    assert_int_equal(stream_send(w.stream, block, OUT_MAX_TEST + 1), -ENOBUFS);
    for (unsigned turn = 0; turn < TURNS && got < sent; turn++) {
        got = drain(&w, got);
        settle(&w);
    }
    assert_int_equal(got, sent);
    /* And there is room again; input goes on beside it. */
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (char)((sent + i) % 251);
    assert_int_equal(stream_send(w.stream, block, sizeof(block)), 0);
    assert_int_equal(drain(&w, got), sent + sizeof(block));
    say(&w, "in\n");
    assert_string_equal(w.heard, "in|");
    assert_int_equal(w.closed, 0);
    close_world(&w);
}

static void test_input_while_output_waits(void **state)
{
    static char block[64 * 1024];
    struct world w;

    open_world(&w, &keep_ops);
    while (stream_send(w.stream, block, sizeof(block)) == 0)
        ;
    say(&w, "still heard\n");
    assert_string_equal(w.heard, "still heard|");
    close_world(&w);
}

static void test_freed_from_inside(void **state)
{
    struct world w;

    open_world(&w, &keep_ops);
    w.free_at = 2;
    say(&w, "one\ntwo\nthree\n");
    assert_string_equal(w.heard, "one|two|");
    assert_null(w.stream);
    assert_int_equal(w.closed, 0);
    close_world(&w);
}

static void test_pause(void **state)
{
    struct world w;

    open_world(&w, &keep_ops);
    w.pause_at = 1;
    say(&w, "one\nlost\n");
    say(&w, "waits\n");
    assert_string_equal(w.heard, "one|");
    /* Where it goes on is in the middle of something. */
    assert_int_equal(stream_pause(w.stream, false), 0);
    settle(&w);
    say(&w, "heard\n");
    assert_string_equal(w.heard, "one|heard|");
    /* Nobody listens, so an end waits as well. */
    assert_int_equal(stream_pause(w.stream, true), 0);
    closep(&w.peer);
    w.peer = -EBADF;
    settle(&w);
    assert_int_equal(w.closed, 0);
    assert_int_equal(stream_pause(w.stream, false), 0);
    settle(&w);
    assert_int_equal(w.closed, 1);
    close_world(&w);
}

/* The fd is taken over on failure as well. */
/* A line without an end is a fault again and again, and the line after it is heard. */
static void test_endless_line(void **state)
{
    static char part[LINES_SKIP_MAX / 4 + 1];
    struct world w;

    memset(part, 'x', sizeof(part) - 1);
    open_world(&w, &keep_ops);
    say(&w, part);
    assert_int_equal(w.oversize, 1);
    for (unsigned i = 0; i < 12; i++)
        say(&w, part);
    assert_int_equal(w.oversize, 4);
    say(&w, "\nnext\n");
    assert_string_equal(w.heard, "next|");
    assert_int_equal(w.oversize, 4);
    close_world(&w);
}

/* Two that are ready in the same turn: whoever is served first ends or pauses the other one. */
struct pair {
    struct stream *stream[2];
    bool pause;
    unsigned lines;
};

static void on_pair_line(struct stream *s, const char *line, size_t len, void *userdata)
{
    struct pair *p = userdata;
    unsigned other = s == p->stream[0] ? 1 : 0;

    p->lines++;
    if (p->pause)
        assert_int_equal(stream_pause(p->stream[other], true), 0);
    else
        p->stream[other] = stream_free(p->stream[other]);
}

static void on_pair_closed(struct stream *s, int error, void *userdata)
{
    fail_msg("nobody has hung up");
}

static void run_pair(bool pause)
{
    static const struct stream_ops ops = { .line = on_pair_line, .closed = on_pair_closed };
    struct pair p = { .pause = pause };
    sd_event *event = NULL;
    int fds[2][2];

    assert_int_equal(sd_event_new(&event), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds[i]), 0);
        assert_int_equal(
                stream_new(event, fds[i][0], LINE_MAX_TEST, OUT_MAX_TEST, &ops, &p, &p.stream[i]), 0);
        assert_int_equal(write(fds[i][1], "line\n", 5), 5);
    }
    for (unsigned turns = 0; sd_event_run(event, 0) > 0;)
        assert_true(++turns < TURNS);
    assert_int_equal(p.lines, 1);
    for (unsigned i = 0; i < 2; i++) {
        stream_free(p.stream[i]);
        close(fds[i][1]);
    }
    sd_event_unref(event);
}

static void test_ended_by_another(void **state)
{
    run_pair(false);
    run_pair(true);
}

/* One process, one loop. */
static void test_second_loop(void **state)
{
    struct stream *stream = NULL;
    sd_event *event = NULL;
    struct world w;
    int fds[2];

    open_world(&w, &keep_ops);
    assert_int_equal(sd_event_new(&event), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(stream_new(event, fds[0], LINE_MAX_TEST, OUT_MAX_TEST, &keep_ops, &w, &stream), -EBUSY);
    assert_null(stream);
    close(fds[1]);
    sd_event_unref(event);
    say(&w, "still\n");
    assert_string_equal(w.heard, "still|");
    close_world(&w);
}

static void test_no_stream(void **state)
{
    struct stream *s = NULL;
    sd_event *event = NULL;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    int file = memfd_create("test-stream", MFD_CLOEXEC);

    assert_int_equal(sd_event_new(&event), 0);
    assert_true(fd >= 0 && file >= 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(stream_new(event, fd, 16, 16, &keep_ops, NULL, &s), -EBADF);
    assert_int_equal(stream_new(event, file, 16, 16, &keep_ops, NULL, &s), -EPERM); /* no epoll on files */
    assert_int_equal(fcntl(file, F_GETFD), -1);
    assert_null(s);
    assert_null(stream_free(NULL));
    sd_event_unref(event);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_end_with_output),
        cmocka_unit_test(test_short_writes),
        cmocka_unit_test(test_input_while_output_waits),
        cmocka_unit_test(test_freed_from_inside),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_endless_line),
        cmocka_unit_test(test_ended_by_another),
        cmocka_unit_test(test_second_loop),
        cmocka_unit_test(test_no_stream),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    cmocka_set_message_output(CM_OUTPUT_STDOUT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
