/* SPDX-License-Identifier: MIT */
#include "stream.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include "poller.h"

#define READ_MAX (64 * 1024)

struct stream {
    struct poller_watch watch;
    int fd;
    struct lines lines;
    char *line_buf; /* made with the first input */
    size_t line_max;
    char *out;
    size_t out_len;
    size_t out_max;
    const struct stream_ops *ops;
    void *userdata;
    bool paused;
    bool closed;
    bool freed;    /* by its owner, from inside of a callback */
    unsigned busy; /* callbacks under way */
};

/* One loop, one thread: input needs a buffer only while it is read. */
static char read_buf[READ_MAX];

static void stream_watch(struct stream *s)
{
    uint32_t events = (s->paused ? 0 : EPOLLIN) | (s->out_len > 0 ? EPOLLOUT : 0);

    /* A hang-up is reported whatever is asked for: while paused only pending output keeps the fd watched. */
    (void)poller_set(&s->watch, events);
}

static void stream_destroy(struct stream *s)
{
    poller_remove(&s->watch);
    closep(&s->fd);
    free(s->line_buf);
    free(s->out);
    free(s);
}

static void stream_end(struct stream *s, int error)
{
    if (s->closed || s->freed)
        return;
    s->closed = true;
    (void)poller_set(&s->watch, 0);
    s->ops->closed(s, error, s->userdata);
}

static int stream_flush(struct stream *s)
{
    size_t done = 0;

    while (done < s->out_len) {
        ssize_t n = write(s->fd, s->out + done, s->out_len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    memmove(s->out, s->out + done, s->out_len - done);
    s->out_len -= done;
    if (s->out_len == 0) {
        free(s->out);
        s->out = NULL;
    }
    return 0;
}

static void stream_take(struct stream *s, const char *data, size_t n)
{
    while (n > 0 && !s->closed && !s->freed && !s->paused) {
        const char *line;
        size_t len;
        int r = lines_next(&s->lines, &data, &n, &line, &len);

        if (r > 0)
            s->ops->line(s, line, len, s->userdata);
        else if (r == -EMSGSIZE && s->ops->oversize)
            s->ops->oversize(s, s->userdata);
    }
}

static int stream_read(struct stream *s)
{
    ssize_t n;

    if (!s->line_buf) {
        s->line_buf = malloc(s->line_max);
        if (!s->line_buf)
            return -ENOMEM;
        s->lines.buf = s->line_buf;
    }
    n = read(s->fd, read_buf, sizeof(read_buf));
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 1 : -errno;
    if (n == 0)
        return 0;
    if (s->ops->received)
        s->ops->received(s, (size_t)n, s->userdata);
    stream_take(s, read_buf, (size_t)n);
    if (!s->freed && s->lines.len == 0) {
        free(s->line_buf);
        s->line_buf = s->lines.buf = NULL;
    }
    return 1;
}

static void stream_events(struct stream *s, uint32_t revents)
{
    int r;

    if (revents & EPOLLOUT) {
        r = stream_flush(s);
        if (r < 0) {
            stream_end(s, r);
            return;
        }
        stream_watch(s);
    }
    if (revents & EPOLLIN) {
        r = stream_read(s);
        if (r <= 0 && !s->freed)
            stream_end(s, r);
        /* With more to read a hang-up waits for the next turn. */
        return;
    }
    if (revents & (EPOLLHUP | EPOLLERR))
        stream_end(s, revents & EPOLLERR ? -EIO : 0);
}

static void on_io(uint32_t revents, void *userdata)
{
    struct stream *s = userdata;

    s->busy++;
    stream_events(s, revents);
    s->busy--;
    if (s->freed && s->busy == 0)
        stream_destroy(s);
}

int stream_new(sd_event *event, int fd, size_t line_max, size_t out_max, const struct stream_ops *ops,
        void *userdata, struct stream **ret)
{
    _cleanup_close_ int owned = fd;
    struct stream *s;
    int flags = fcntl(fd, F_GETFL), r;

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->line_max = line_max;
    s->out_max = out_max;
    s->ops = ops;
    s->userdata = userdata;
    lines_init(&s->lines, NULL, line_max);
    s->watch = (struct poller_watch){ .fd = fd, .ready = on_io, .userdata = s };
    r = poller_add(event, &s->watch, EPOLLIN);
    if (r < 0) {
        free(s);
        return r;
    }
    s->fd = TAKE_FD(owned);
    *ret = s;
    return 0;
}

struct stream *stream_free(struct stream *s)
{
    if (!s || s->freed)
        return NULL;
    s->freed = true;
    (void)poller_set(&s->watch, 0);
    if (s->busy == 0)
        stream_destroy(s);
    return NULL;
}

int stream_send(struct stream *s, const char *data, size_t n)
{
    char *grown;
    int r;

    if (s->closed || s->freed)
        return -ENOTCONN;
    if (n > s->out_max - s->out_len)
        return -ENOBUFS;
    grown = realloc(s->out, s->out_len + n);
    if (!grown)
        return -ENOMEM;
    memcpy(grown + s->out_len, data, n);
    s->out = grown;
    s->out_len += n;
    r = stream_flush(s);
    if (r < 0)
        return r == -EPIPE ? 0 : r; /* the hang-up is told by the loop, once */
    stream_watch(s);
    return 0;
}

int stream_pause(struct stream *s, bool paused)
{
    if (s->closed)
        return -ENOTCONN;
    s->paused = paused;
    if (paused)
        lines_reset(&s->lines, true);
    stream_watch(s);
    return 0;
}
