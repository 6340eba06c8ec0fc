/* SPDX-License-Identifier: MIT */
#include <err.h>
#include <fcntl.h>
#include <glib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "peers.h"

#define STATS_USEC 10000000ull
#define TICK_MSEC 1
/* What is open at the end is waited for; the host's own time-outs are 5 s. */
#define DRAIN_USEC 6000000ull

struct plan {
    char *folder;
    int vms;
    int rate; /* resizes a second, all guests together; 0: idle */
    int seconds;
    char *flood_name;
    enum flood flood; /* of guest 0, which then asks nothing else */
};

static struct peer *peers;
static int epoll_fd;

uint64_t peers_now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static enum flood flood_from_string(const char *s)
{
    static const char *const names[_FLOOD_MAX] = { "none", "requests", "long", "half", "deaf" };

    for (int i = 0; i < _FLOOD_MAX; i++)
        if (streq(names[i], s))
            return (enum flood)i;
    return _FLOOD_INVALID;
}

static void parse_options(struct plan *p, int argc, char **argv)
{
    const GOptionEntry entries[] = {
        { "folder", 0, 0, G_OPTION_ARG_FILENAME, &p->folder, "Where the sockets are made", "DIR" },
        { "vms", 0, 0, G_OPTION_ARG_INT, &p->vms, "How many", "N" },
        { "rate", 0, 0, G_OPTION_ARG_INT, &p->rate, "Resizes a second, all together; 0: idle", "N" },
        { "seconds", 0, 0, G_OPTION_ARG_INT, &p->seconds, "How long", "N" },
        { "flood", 0, 0, G_OPTION_ARG_STRING, &p->flood_name, "Guest 0: none, requests, long, half, deaf",
                "KIND" },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };
    g_autoptr(GOptionContext) context = g_option_context_new("- guests and QEMUs for scripts/bench host");
    g_autoptr(GError) error = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error))
        errx(2, "%s", error->message);
    p->flood = flood_from_string(p->flood_name ?: "none");
    if (!p->folder || p->vms < 1 || p->rate < 0 || p->seconds < 1 || p->flood < 0)
        errx(2, "--folder, --vms, --rate and --seconds are needed; see --help");
}

static void watch(struct wire *w, int fd)
{
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = w };

    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
        err(EXIT_FAILURE, "epoll_ctl");
}

static void make_peers(const struct plan *plan)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    peers = g_new0(struct peer, (gsize)plan->vms);
    for (int i = 0; i < plan->vms; i++) {
        struct peer *p = &peers[i];
        g_autofree char *qmp = g_strdup_printf("%s/%d.qmp", plan->folder, i);
        g_autofree char *channel = g_strdup_printf("%s/%d.channel", plan->folder, i);

        p->number = (unsigned)i;
        p->qmp.peer = p->channel.peer = p;
        p->qmp.is_qmp = true;
        wire_listen(&p->qmp, qmp);
        wire_listen(&p->channel, channel);
        watch(&p->qmp, p->qmp.listener);
        watch(&p->channel, p->channel.listener);
    }
}

static void on_connection(struct wire *w)
{
    w->fd = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (w->fd < 0)
        return;
    watch(w, w->fd);
    if (w->is_qmp)
        qemu_greet(w);
}

/* A wire without a connection is its listener's event, as one with is the connection's: the host connects
 * once at a time. */
static void turn(int msec)
{
    struct epoll_event events[256];
    int n = epoll_wait(epoll_fd, events, 256, msec);

    for (int i = 0; i < n; i++) {
        struct wire *w = events[i].data.ptr;

        if (w->fd < 0)
            on_connection(w);
        else if (!w->peer->deaf || w->is_qmp)
            wire_read(w, w->is_qmp ? qemu_line : guest_line);
        else
            /* Not read, so that it would be reported again and again. */
            (void)epoll_ctl(epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    }
}

static bool all_welcomed(const struct plan *plan)
{
    for (int i = 0; i < plan->vms; i++)
        if (!peers[i].welcomed)
            return false;
    return true;
}

/* Says what is due by now, in turn. */
static void ask(const struct plan *plan, uint64_t begin, uint64_t now, uint64_t *asked)
{
    unsigned first = plan->flood == FLOOD_NONE ? 0 : 1, n = (unsigned)plan->vms - first;

    while (plan->rate > 0 && n > 0) {
        uint64_t due = begin + *asked * 1000000 / (uint64_t)plan->rate;

        if (due > now)
            return;
        guest_ask(&peers[first + *asked % n], due);
        (*asked)++;
    }
}

static void say_stats(const struct plan *plan, uint64_t now)
{
    for (int i = 0; i < plan->vms; i++)
        if (now >= peers[i].stats_at && !peers[i].deaf && peers[i].channel.fd >= 0) {
            guest_stats(&peers[i]);
            peers[i].stats_at += STATS_USEC;
        }
}

static void run(const struct plan *plan)
{
    uint64_t begin = peers_now(), end = begin + (uint64_t)plan->seconds * 1000000, asked = 0, now = begin;

    tally.max_latency = (size_t)plan->rate * (size_t)plan->seconds + 1;
    tally.latency = g_new(uint32_t, tally.max_latency);
    for (int i = 0; i < plan->vms; i++)
        peers[i].stats_at = begin + STATS_USEC * (uint64_t)i / (uint64_t)plan->vms;
    while (now < end) {
        ask(plan, begin, now, &asked);
        say_stats(plan, now);
        guest_flood(&peers[0], plan->flood);
        turn(TICK_MSEC);
        now = peers_now();
    }
    while (now < end + DRAIN_USEC && tally.granted + tally.refused < tally.sent) {
        turn(TICK_MSEC);
        now = peers_now();
    }
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static unsigned at(unsigned permille)
{
    return tally.n_latency > 0 ? tally.latency[(tally.n_latency - 1) * permille / 1000] : 0;
}

static void report(void)
{
    qsort(tally.latency, tally.n_latency, sizeof(*tally.latency), compare);
    printf("{\"sent\": %llu, \"granted\": %llu, \"refused\": %llu, \"strays\": %llu, \"p50\": %u, \"p90\": "
           "%u, "
           "\"p99\": %u, \"max\": %u}\n",
            (unsigned long long)tally.sent, (unsigned long long)tally.granted,
            (unsigned long long)tally.refused, (unsigned long long)tally.strays, at(500), at(900), at(990),
            at(1000));
}

/* "listening", then "ready" once each guest is welcomed; begins with the first byte of stdin. */
int main(int argc, char **argv)
{
    struct plan plan = { 0 };
    char go;

    parse_options(&plan, argc, argv);
    make_peers(&plan);
    puts("listening");
    fflush(stdout);
    while (!all_welcomed(&plan))
        turn(100);
    puts("ready");
    fflush(stdout);
    if (read(STDIN_FILENO, &go, 1) == 1)
        run(&plan);
    report();
    return EXIT_SUCCESS;
}
