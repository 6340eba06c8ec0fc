/* SPDX-License-Identifier: MIT */
#include "metrics-listen.h"

#include <netinet/in.h>

#include "metrics-text.h"

#define BACKLOG 64

static int prepare(int fd, const struct sockaddr_storage *where)
{
    int on = 1;

    /* Not SO_REUSEPORT: with it a second daemon would get half of the clients. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
            (where->ss_family == AF_INET6 &&
                    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) ||
            bind(fd, (const struct sockaddr *)where,
                    where->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)) <
                    0 ||
            listen(fd, BACKLOG) < 0)
        return -errno;
    return 0;
}

int metrics_listen_on(const char *address, bool *ret_local)
{
    _cleanup_(closep) int fd = -EBADF;
    struct sockaddr_storage where;
    bool local;
    int r = metrics_parse_address(address, &where, &local);

    if (r < 0)
        return r;
    fd = socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    r = prepare(fd, &where);
    if (r < 0)
        return r;
    *ret_local = local;
    return TAKE_FD(fd);
}

bool metrics_same_port(const char *a, const char *b)
{
    return streq(strrchr(a, ':'), strrchr(b, ':'));
}
