/* SPDX-License-Identifier: MIT */

/* A memory workload for the guest: takes memory of one kind at a given rate, holds it, frees it, and says
 * when.
 *
 * One JSON object a line on standard output; "t_us" is CLOCK_MONOTONIC in µs:
 *   start    threads, bytes
 *   touched  bytes, stall_us (the longest that one chunk took), stalled_at_us (when that chunk was begun)
 *   freed    bytes
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vmhog-kinds.h"
#include "tool.h"

#define WORKERS_MAX 1024

static struct {
    enum kind kind;
    unsigned workers;
    uint64_t bytes, rate;
    unsigned hold;
    bool fork;
    const char *path;
} options = { .kind = KIND_ANON, .workers = 1, .path = "/var/tmp" };

static struct worker *workers; /* shared with forked workers */

static void *work(void *p)
{
    struct worker *w = p;
    uint64_t begin = now_us(), before, took, rate = options.rate / options.workers;
    const size_t chunk = kind_chunk(options.kind);

    if (options.rate > 0 && rate == 0)
        rate = 1;
    while (w->touched < w->bytes) {
        uint64_t left = w->bytes - w->touched;
        size_t length = left < chunk ? (size_t)left : chunk;

        if (rate > 0)
            sleep_until_us(begin + w->touched * 1000000U / rate);
        before = now_us();
        w->error = worker_take(w, length);
        if (w->error < 0)
            return NULL;
        took = now_us() - before;
        if (took > w->stall_us) {
            w->stall_us = took;
            w->stalled_at_us = before;
        }
        w->touched += length;
    }
    return NULL;
}

static int run_threads(void)
{
    pthread_t threads[WORKERS_MAX];
    int r;

    for (unsigned i = 0; i < options.workers; i++) {
        r = pthread_create(&threads[i], NULL, work, &workers[i]);
        if (r > 0)
            return -r;
    }
    for (unsigned i = 0; i < options.workers; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

/* The children stay, with their memory, until they are killed. Each maps its own: a mapping of the parent's
 * would be reserved for every child once more. */
static int run_children(pid_t *pids, int done)
{
    for (unsigned i = 0; i < options.workers; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            return -errno;
        if (pids[i] > 0)
            continue;
        workers[i].error = worker_prepare(&workers[i], options.path, i);
        if (workers[i].error >= 0)
            work(&workers[i]);
        (void)!write(done, "", 1);
        for (;;)
            pause();
    }
    return 0;
}

/* One byte for each child that is ready; a child that was killed ends the wait by its status. */
static int wait_children(int done)
{
    for (unsigned ready = 0; ready < options.workers;) {
        char byte;

        if (read(done, &byte, 1) == 1) {
            ready++;
            continue;
        }
        if (waitpid(-1, NULL, WNOHANG) > 0)
            return -EOWNERDEAD;
        sleep_until_us(now_us() + 10000);
    }
    return 0;
}

static void say_touched(void)
{
    const struct worker *worst = &workers[0];
    uint64_t touched = 0;

    for (unsigned i = 0; i < options.workers; i++) {
        touched += workers[i].touched;
        if (workers[i].stall_us > worst->stall_us)
            worst = &workers[i];
    }
    printf("{\"t_us\": %" PRIu64 ", \"event\": \"touched\", \"bytes\": %" PRIu64 ", \"stall_us\": %" PRIu64
           ", \"stalled_at_us\": %" PRIu64 "}\n",
            now_us(), touched, worst->stall_us, worst->stalled_at_us);
}

static void usage(FILE *out)
{
    fprintf(out,
            "Usage: vmhog --bytes SIZE [--kind KIND] [--threads N] [--fork]\n"
            "             [--rate SIZE per second, 0 = full] [--hold SECONDS] [--path FOLDER-OR-FILE]\n"
            "  --kind   anon, anon4k, populate, read, mlock, tmpfs, fallocate, file, pipe, unix or tables\n"
            "  --fork   processes instead of threads\n"
            "  --path   for file: write into this folder (/var/tmp), or read this file over and over\n");
}

static int parse_options(int argc, char **argv)
{
    static const struct option longs[] = {
        { "bytes", required_argument, NULL, 'b' },
        { "kind", required_argument, NULL, 'k' },
        { "threads", required_argument, NULL, 't' },
        { "fork", no_argument, NULL, 'f' },
        { "rate", required_argument, NULL, 'r' },
        { "hold", required_argument, NULL, 'h' },
        { "path", required_argument, NULL, 'p' },
        {},
    };
    int c, r = 0;

    while (r >= 0 && (c = getopt_long(argc, argv, "", longs, NULL)) >= 0)
        switch (c) {
        case 'b':
            r = parse_size(optarg, &options.bytes);
            break;
        case 'k':
            r = (int)(options.kind = kind_from_name(optarg));
            break;
        case 't':
            r = parse_count(optarg, 1, WORKERS_MAX, &options.workers);
            break;
        case 'f':
            options.fork = true;
            break;
        case 'r':
            r = parse_size(optarg, &options.rate);
            break;
        case 'h':
            r = parse_count(optarg, 0, 86400, &options.hold);
            break;
        case 'p':
            options.path = optarg;
            break;
        default:
            r = -EINVAL;
        }
    return r < 0 || optind != argc || options.bytes == 0 ? -EINVAL : 0;
}

/* As far as it goes; a limit that is still too low shows as EMFILE later. */
static void raise_file_limit(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
}

static int share_out(void)
{
    uint64_t each = options.bytes / options.workers;
    int r;

    if (kind_needs_files(options.kind))
        raise_file_limit();
    workers = mmap(NULL, sizeof(*workers) * options.workers, PROT_READ | PROT_WRITE,
            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (workers == MAP_FAILED)
        return -errno;
    prepare_pattern();
    for (unsigned i = 0; i < options.workers; i++) {
        workers[i] = (struct worker){ .kind = options.kind, .bytes = each, .fd = -1 };
        if (i == 0)
            workers[i].bytes += options.bytes % options.workers;
        r = options.fork ? 0 : worker_prepare(&workers[i], options.path, i);
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_workers(void)
{
    for (unsigned i = 0; i < options.workers; i++)
        if (workers[i].error < 0)
            return workers[i].error;
    return 0;
}

static int run(void)
{
    pid_t pids[WORKERS_MAX];
    int done[2], r;

    r = share_out();
    if (r < 0)
        return r;
    printf("{\"t_us\": %" PRIu64 ", \"event\": \"start\", \"threads\": %u, \"bytes\": %" PRIu64 "}\n",
            now_us(), options.workers, options.bytes);
    if (options.fork) {
        if (pipe2(done, O_CLOEXEC | O_NONBLOCK) < 0)
            return -errno;
        r = run_children(pids, done[1]);
        if (r >= 0)
            r = wait_children(done[0]);
    } else
        r = run_threads();
    if (r >= 0)
        r = check_workers();
    if (r < 0)
        return r;
    say_touched();
    sleep_until_us(now_us() + (uint64_t)options.hold * 1000000U);
    for (unsigned i = 0; options.fork && i < options.workers; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    for (unsigned i = 0; !options.fork && i < options.workers; i++)
        worker_release(&workers[i]);
    printf("{\"t_us\": %" PRIu64 ", \"event\": \"freed\", \"bytes\": %" PRIu64 "}\n", now_us(),
            options.bytes);
    return 0;
}

int main(int argc, char **argv)
{
    int r;

    setlinebuf(stdout);
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    if (parse_options(argc, argv) < 0) {
        usage(stderr);
        return 2;
    }
    r = run();
    if (r < 0) {
        fprintf(stderr, "vmhog: %s\n", strerror(-r));
        return 1;
    }
    return 0;
}
