/* SPDX-License-Identifier: MIT */
#include "peers.h"

#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>

void wire_listen(struct wire *w, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);

    if (n < 0 || (size_t)n >= sizeof(address.sun_path))
        errx(EXIT_FAILURE, "%s: longer than a socket's path", path);
    w->fd = -EBADF;
    w->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (w->listener < 0 || bind(w->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
            listen(w->listener, 1) < 0)
        err(EXIT_FAILURE, "%s", path);
}

ssize_t wire_try(struct wire *w, const char *data, size_t len)
{
    ssize_t n = send(w->fd, data, len, MSG_NOSIGNAL);

    return n < 0 ? -errno : n;
}

/* The host reads at once, unless it has cut somebody off; who is honest is not. */
void wire_send(struct wire *w, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = wire_try(w, data, len);

        if (n == -EAGAIN) {
            (void)poll(&(struct pollfd){ .fd = w->fd, .events = POLLOUT }, 1, 1000);
            continue;
        }
        if (n < 0)
            errx(EXIT_FAILURE, "the host has left VM %u: %s", w->peer->number, strerror((int)-n));
        data += n;
        len -= (size_t)n;
    }
}

void wire_say(struct wire *w, const char *format, ...)
{
    char buf[1024];
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(buf, sizeof(buf), format, ap);
    va_end(ap);
    if (!w->is_qmp && w->peer->deaf)
        (void)wire_try(w, buf, (size_t)n);
    else
        wire_send(w, buf, (size_t)n);
}

static void take(
        struct wire *w, const char *data, size_t n, void (*on_line)(struct wire *w, const char *line))
{
    for (size_t i = 0; i < n; i++) {
        if (data[i] != '\n') {
            if (w->len + 1 < sizeof(w->line))
                w->line[w->len++] = data[i];
            continue;
        }
        w->line[w->len] = '\0';
        w->len = 0;
        on_line(w, w->line);
    }
}

void wire_read(struct wire *w, void (*on_line)(struct wire *w, const char *line))
{
    static char buf[65536];
    ssize_t n = read(w->fd, buf, sizeof(buf));

    if (n > 0) {
        take(w, buf, (size_t)n, on_line);
        return;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    close(w->fd);
    w->fd = -EBADF;
    w->len = 0;
}

uint64_t wire_number(const char *line, const char *key)
{
    char quoted[64];
    const char *at;

    (void)snprintf(quoted, sizeof(quoted), "\"%s\":", key);
    at = strstr(line, quoted);
    return at ? strtoull(at + strlen(quoted), NULL, 10) : 0;
}
