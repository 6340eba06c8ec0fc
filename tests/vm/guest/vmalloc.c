/* SPDX-License-Identifier: MIT */

/* A user's program that needs memory: takes it by one malloc(), writes to all of it, holds it and frees it.
 *
 * It allocates as ordinary programs do, so the kernel's overcommit check applies to the whole size at once,
 * and an allocation that the kernel refuses is an error.
 *
 * One JSON object a line on standard output, as vmhog prints them; "t_us" is CLOCK_MONOTONIC in µs:
 *   start    pid, threads, bytes
 *   touched  bytes, stall_us (the longest that one chunk took), stalled_at_us (when that chunk was begun)
 *   freed    bytes
 */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

#define CHUNK (64U * 1024) /* what is timed */
#define THREADS_MAX 256

struct worker {
    char *memory;
    uint64_t bytes;
    uint64_t stall_us, stalled_at_us;
};

static struct {
    uint64_t bytes;
    unsigned threads, hold;
} options = { .threads = 1 };

static void *touch_memory(void *p)
{
    struct worker *w = p;

    for (uint64_t done = 0, length; done < w->bytes; done += length) {
        uint64_t before = now_us(), took;

        length = w->bytes - done < CHUNK ? w->bytes - done : CHUNK;
        memset(w->memory + done, 1, length);
        took = now_us() - before;
        if (took > w->stall_us) {
            w->stall_us = took;
            w->stalled_at_us = before;
        }
    }
    return NULL;
}

/* Each thread writes to its part of the one allocation. */
static int touch_in_threads(char *memory, struct worker *ret_worst)
{
    static struct worker workers[THREADS_MAX]; /* outlives a return while threads write */
    struct worker worst = {};
    pthread_t threads[THREADS_MAX];
    uint64_t each = options.bytes / options.threads;
    int r;

    for (unsigned i = 0; i < options.threads; i++) {
        workers[i] = (struct worker){ .memory = memory + i * each, .bytes = each };
        if (i == options.threads - 1)
            workers[i].bytes += options.bytes % options.threads;
        r = pthread_create(&threads[i], NULL, touch_memory, &workers[i]);
        if (r > 0)
            return -r;
    }
    for (unsigned i = 0; i < options.threads; i++) {
        pthread_join(threads[i], NULL);
        if (workers[i].stall_us >= worst.stall_us)
            worst = workers[i];
    }
    *ret_worst = worst;
    return 0;
}

static void sleep_seconds(unsigned seconds)
{
    while (seconds > 0)
        seconds = sleep(seconds);
}

static int run(void)
{
    struct worker worst;
    char *memory;
    int r;

    printf("{\"t_us\": %" PRIu64 ", \"event\": \"start\", \"pid\": %d, \"threads\": %u, \"bytes\": %" PRIu64
           "}\n",
            now_us(), (int)getpid(), options.threads, options.bytes);
    memory = malloc(options.bytes);
    if (!memory) {
        r = -errno;
        fprintf(stderr, "vmalloc: malloc(%" PRIu64 ") failed: %s\n", options.bytes, strerror(-r));
        return r;
    }
    r = touch_in_threads(memory, &worst);
    if (r < 0) {
        /* Threads that were started still write: the process ends with its memory. */
        fprintf(stderr, "vmalloc: cannot start a thread: %s\n", strerror(-r));
        return r;
    }
    printf("{\"t_us\": %" PRIu64 ", \"event\": \"touched\", \"bytes\": %" PRIu64 ", \"stall_us\": %" PRIu64
           ", \"stalled_at_us\": %" PRIu64 "}\n",
            now_us(), options.bytes, worst.stall_us, worst.stalled_at_us);
    sleep_seconds(options.hold);
    free(memory);
    printf("{\"t_us\": %" PRIu64 ", \"event\": \"freed\", \"bytes\": %" PRIu64 "}\n", now_us(),
            options.bytes);
    return 0;
}

static void print_usage(FILE *out)
{
    fprintf(out, "Usage: vmalloc --bytes SIZE [--threads N] [--hold SECONDS]\n");
}

static int parse_options(int argc, char **argv)
{
    static const struct option longs[] = {
        { "bytes", required_argument, NULL, 'b' },
        { "threads", required_argument, NULL, 't' },
        { "hold", required_argument, NULL, 'h' },
        {},
    };
    int c, r = 0;

    while (r >= 0 && (c = getopt_long(argc, argv, "", longs, NULL)) >= 0)
        switch (c) {
        case 'b':
            r = parse_size(optarg, &options.bytes);
            break;
        case 't':
            r = parse_count(optarg, 1, THREADS_MAX, &options.threads);
            break;
        case 'h':
            r = parse_count(optarg, 0, 86400, &options.hold);
            break;
        default:
            r = -EINVAL;
        }
    return r < 0 || optind != argc || options.bytes == 0 ? -EINVAL : 0;
}

int main(int argc, char **argv)
{
    setlinebuf(stdout);
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        print_usage(stdout);
        return 0;
    }
    if (parse_options(argc, argv) < 0) {
        print_usage(stderr);
        return 2;
    }
    return run() < 0 ? 1 : 0;
}
