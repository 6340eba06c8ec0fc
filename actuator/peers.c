/* SPDX-License-Identifier: MIT */
#include "peers.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "bus-filter.h"
#include "listener.h"
#include "log.h"
#include "service.h"
#include "unix-socket.h"

#define BACKLOG 4

#define QUEUED_MAX 256u

struct peer {
    sd_bus *bus;
    uid_t uid;
    bool piled_up; /* it was hung up on for what it did not read */
    struct peers *peers;
};

struct peers {
    sd_event *event;
    struct listener *listener;
    uid_t uid;
    struct peer peers[PEERS_MAX];
    const struct peers_ops *ops;
    void *userdata;
    char *path;
    struct log_repeat refused_fault;
};

static void peer_drop(struct peer *p)
{
    if (!p->bus)
        return;
    p->peers->ops->gone(p->bus, p->peers->userdata);
    sd_bus_detach_event(p->bus);
    p->bus = sd_bus_close_unref(p->bus);
}

/* Its messages and the answers to them are freed by now: a MiB between others that stay, where malloc leaves
 * it. */
static int on_freed(sd_event_source *source, void *userdata)
{
    (void)malloc_trim(0);
    return 0;
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct peer *p = userdata;

    log_debug("private socket: peer of uid %u left", (unsigned)p->uid);
    peer_drop(p);
    /* The bus is held until we return. */
    if (p->piled_up)
        (void)sd_event_add_defer(p->peers->event, NULL, on_freed, NULL);
    return 0;
}

/* Answers to a peer that does not read them pile up here: cut it off, and it is gone as if it had left. */
static int on_any_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct peer *p = userdata;
    uint64_t queued = 0;

    if (sd_bus_get_n_queued_write(p->bus, &queued) >= 0 && queued > QUEUED_MAX) {
        log_warning("private socket: peer of uid %u does not read its %u answers, hanging up",
                (unsigned)p->uid, (unsigned)queued);
        (void)shutdown(sd_bus_get_fd(p->bus), SHUT_RDWR);
        p->piled_up = true;
        return 1;
    }
    return 0;
}

/* Takes fd over. */
static int peer_start(struct peer *p, int fd)
{
    _cleanup_close_ int owned = fd;
    sd_id128_t id;
    int r = sd_id128_randomize(&id);

    if (r >= 0)
        r = sd_bus_new(&p->bus);
    if (r >= 0)
        r = sd_bus_set_fd(p->bus, owned, owned);
    if (r >= 0)
        TAKE_FD(owned);
    if (r >= 0)
        r = sd_bus_set_server(p->bus, 1, id);
    if (r >= 0)
        r = sd_bus_negotiate_fds(p->bus, 1);
    if (r >= 0)
        r = sd_bus_set_anonymous(p->bus, 0);
    if (r >= 0)
        r = sd_bus_start(p->bus);
    if (r >= 0)
        r = sd_bus_attach_event(p->bus, p->peers->event, SD_EVENT_PRIORITY_NORMAL);
    if (r >= 0)
        r = sd_bus_match_signal(p->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
                "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, p);
    if (r >= 0)
        r = sd_bus_add_filter(p->bus, NULL, bus_filter, NULL);
    if (r >= 0)
        r = sd_bus_add_filter(p->bus, NULL, on_any_message, p);
    if (r >= 0)
        r = p->peers->ops->added(p->bus, p->peers->userdata);
    return r;
}

static struct peer *free_slot(struct peers *p)
{
    for (size_t i = 0; i < PEERS_MAX; i++)
        if (!p->peers[i].bus)
            return &p->peers[i];
    return NULL;
}

static bool is_connected(const struct peers *p, uid_t uid)
{
    for (size_t i = 0; i < PEERS_MAX; i++)
        if (p->peers[i].bus && p->peers[i].uid == uid)
            return true;
    return false;
}

static void on_connection(struct listener *listener, int fd, void *userdata)
{
    struct peers *p = userdata;
    _cleanup_close_ int peer_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred cred;
    socklen_t len = sizeof(cred);
    struct peer *slot;
    int r;

    if (peer_fd < 0) {
        listener_failed(listener, -errno);
        return;
    }
    if (getsockopt(peer_fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return;
    if (cred.uid != 0 && cred.uid != p->uid) {
        log_repeated(&p->refused_fault, now_usec(), LOG_WARNING,
                "private socket: uid %u is neither root nor the monitor's user", (unsigned)cred.uid);
        return;
    }
    /* A monitor without a connection cannot decide: two would plug and unplug against each other. Tools are
     * root's. */
    if (cred.uid != 0 && is_connected(p, cred.uid)) {
        log_repeated(&p->refused_fault, now_usec(), LOG_WARNING,
                "private socket: uid %u has a connection already; a second monitor is not served",
                (unsigned)cred.uid);
        return;
    }
    slot = free_slot(p);
    if (!slot) {
        log_repeated(&p->refused_fault, now_usec(), LOG_WARNING,
                "private socket: uid %u: %u connections are there already", (unsigned)cred.uid, PEERS_MAX);
        return;
    }
    *slot = (struct peer){ .peers = p, .uid = cred.uid };
    r = peer_start(slot, TAKE_FD(peer_fd));
    if (r < 0) {
        log_warning("private socket: connection of uid %u: %s", (unsigned)cred.uid, strerror(-r));
        peer_drop(slot);
    }
}

static int listen_on(const char *path, gid_t gid)
{
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address;
    int r = fd < 0 ? -errno : unix_address(path, &address);

    if (r < 0)
        return r;
    if (unlink(path) < 0 && errno != ENOENT)
        return -errno;
    /* The unit's umask is 0077, so nobody gets in before the group is set. */
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    if (chown(path, (uid_t)-1, gid) < 0 || chmod(path, 0660) < 0)
        return -errno;
    if (listen(fd, BACKLOG) < 0)
        return -errno;
    return TAKE_FD(fd);
}

int peers_new(sd_event *event, const char *path, uid_t uid, gid_t gid, const struct peers_ops *ops,
        void *userdata, struct peers **ret)
{
    struct peers *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return -ENOMEM;
    p->event = sd_event_ref(event);
    p->uid = uid;
    p->ops = ops;
    p->userdata = userdata;
    p->path = strdup(path);
    r = p->path ? listen_on(path, gid) : -ENOMEM;
    if (r >= 0)
        r = listener_new(event, r, "private socket", on_connection, p, &p->listener);
    if (r < 0) {
        peers_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

struct peers *peers_free(struct peers *p)
{
    if (!p)
        return NULL;
    for (size_t i = 0; i < PEERS_MAX; i++)
        peer_drop(&p->peers[i]);
    if (p->listener)
        (void)unlink(p->path);
    listener_free(p->listener);
    sd_event_unref(p->event);
    free(p->path);
    free(p);
    return NULL;
}

int peers_uid(const struct peers *p, const sd_bus *bus, uid_t *ret)
{
    for (size_t i = 0; p && i < PEERS_MAX; i++)
        if (p->peers[i].bus == bus) {
            *ret = p->peers[i].uid;
            return 0;
        }
    return -ENOENT;
}

void peers_each(const struct peers *p, void (*fn)(sd_bus *bus, void *userdata), void *userdata)
{
    for (size_t i = 0; p && i < PEERS_MAX; i++)
        if (p->peers[i].bus)
            fn(p->peers[i].bus, userdata);
}
