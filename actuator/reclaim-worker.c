/* SPDX-License-Identifier: MIT */
#include "reclaim-worker.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <systemd/sd-bus.h>
#include <time.h>

#include "log.h"
#include "meminfo.h"
#include "names.h"
#include "procfile.h"
#include "reclaim.h"
#include "service.h"

/* A single piece may hang in a kernel that is short of memory: whoever waits is answered all the same. */
#define ANSWER_USEC (RECLAIM_TIME_USEC + USEC_PER_SEC)
#define EXIT_SECONDS 1
/* Our frames and the readers' buffers (16 KiB for meminfo); the default of 8 MiB would be locked memory. */
#define STACK_SIZE (128UL * 1024)
#define STAT_SIZE (16 * 1024)

struct reclaim_worker {
    sd_event_source *ended;
    sd_event_source *late;
    struct reclaim_gate gate;
    bool no_swappiness;
    bool running; /* the thread has not been joined */
    pthread_t thread;
    reclaim_done_t done; /* NULL: nobody waits */
    void *userdata;
    struct log_repeat fault;

    /* Set before the thread starts, its own until event_fd says that it has ended. */
    char *cgroupfs;
    char *meminfo_path;
    int event_fd;
    uint64_t bytes;
    int status;
    struct reclaim_result result;
    char stat[STAT_SIZE];

    atomic_bool stop;
    atomic_uint_least64_t progress;
};

static int join_path(const struct reclaim_worker *w, const char *name, char path[static PATH_MAX])
{
    return snprintf(path, PATH_MAX, "%s/%s", w->cgroupfs, name) >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int io_look(struct reclaim_memory *ret, void *userdata)
{
    struct reclaim_worker *w = userdata;
    char path[PATH_MAX];
    struct meminfo m;
    size_t len;
    int r = join_path(w, "memory.stat", path);

    if (r >= 0)
        r = procfile_read(path, w->stat, sizeof(w->stat), &len);
    if (r >= 0)
        r = reclaim_stat_parse(w->stat, ret);
    if (r >= 0)
        r = meminfo_read(w->meminfo_path, &m);
    if (r < 0)
        return r;
    ret->swap_total = m.swap_total;
    ret->swap_free = m.swap_free;
    return 0;
}

static int io_ask(const char *line, void *userdata)
{
    char path[PATH_MAX];
    int r = join_path(userdata, "memory.reclaim", path);

    return r < 0 ? r : procfile_write(path, line);
}

static uint64_t io_now(void *userdata)
{
    return now_usec();
}

static bool io_go_on(uint64_t reclaimed, void *userdata)
{
    struct reclaim_worker *w = userdata;

    atomic_store(&w->progress, reclaimed);
    return !atomic_load(&w->stop);
}

static void *thread_main(void *userdata)
{
    struct reclaim_worker *w = userdata;
    const struct reclaim_io io = {
        .look = io_look,
        .ask = io_ask,
        .now = io_now,
        .go_on = io_go_on,
        .userdata = w,
    };
    const uint64_t one = 1;

    w->status = reclaim_run(&io, w->bytes, w->no_swappiness, &w->result);
    while (write(w->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
    return NULL;
}

static void answer(struct reclaim_worker *w, uint64_t reclaimed, const char *error, const char *text)
{
    reclaim_done_t done = w->done;

    w->done = NULL;
    (void)sd_event_source_set_enabled(w->late, SD_EVENT_OFF);
    if (done)
        done(reclaimed, error, text, w->userdata);
}

static int on_ended(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct reclaim_worker *w = userdata;
    const struct reclaim_result *result = &w->result;
    char text[LIMITS_TEXT_MAX];
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0)
        return 0;
    (void)pthread_join(w->thread, NULL);
    w->running = false;
    w->no_swappiness = result->no_swappiness;
    if (w->status < 0) {
        (void)snprintf(text, sizeof(text), "%s: memory.reclaim, memory.stat or meminfo: %s", w->cgroupfs,
                strerror(-w->status));
        log_repeated(&w->fault, now_usec(), LOG_WARNING, "reclaim: %s", text);
        answer(w, 0, SD_BUS_ERROR_FAILED, text);
        return 0;
    }
    reclaim_learn(&w->gate, result, now_usec());
    log_line(result->end == RECLAIM_SWAPPED ? LOG_NOTICE : LOG_DEBUG,
            "reclaim: %s of page cache went, %s wanted, %s asked of the kernel, %s swapped out: %s",
            FORMAT_BYTES(result->reclaimed), FORMAT_BYTES(w->bytes), FORMAT_BYTES(result->asked),
            FORMAT_BYTES(result->swapped), reclaim_end_to_string(result->end));
    answer(w, result->reclaimed, NULL, NULL);
    return 0;
}

static int on_late(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct reclaim_worker *w = userdata;

    log_repeated(&w->fault, now_usec(), LOG_WARNING,
            "reclaim: the kernel has not come back for %u s; answering with what has gone",
            (unsigned)(ANSWER_USEC / USEC_PER_SEC));
    reclaim_worker_give_up(w);
    return 0;
}

void reclaim_worker_give_up(struct reclaim_worker *w)
{
    atomic_store(&w->stop, true);
    if (w->done)
        answer(w, atomic_load(&w->progress), NULL, NULL);
}

/* Says what is missing, in words; NULL: nothing. */
static const char *what_is_missing(const struct reclaim_worker *w)
{
    char path[PATH_MAX];

    if (join_path(w, "cgroup.controllers", path) < 0 || access(path, F_OK) < 0)
        return "there is no cgroup v2 hierarchy at its usual place (v1 and hybrid have no memory.reclaim)";
    if (join_path(w, "memory.reclaim", path) < 0 || access(path, F_OK) < 0)
        return "this kernel has no memory.reclaim in the root cgroup: Linux 5.19 or newer has, with its "
               "memory controller";
    return NULL;
}

static int start_thread(struct reclaim_worker *w)
{
    pthread_attr_t attr;
    int r = pthread_attr_init(&attr);

    if (r != 0)
        return -r;
    r = pthread_attr_setstacksize(&attr, STACK_SIZE);
    /* It inherits the blocked signals, so they all go to the loop. */
    if (r == 0)
        r = pthread_create(&w->thread, &attr, thread_main, w);
    (void)pthread_attr_destroy(&attr);
    return -r;
}

void reclaim_worker_start(struct reclaim_worker *w, uint64_t bytes, reclaim_done_t done, void *userdata)
{
    const char *error, *missing = what_is_missing(w);
    char text[LIMITS_TEXT_MAX];
    int r;

    if (missing) {
        done(0, SD_BUS_ERROR_NOT_SUPPORTED, missing, userdata);
        return;
    }
    if (w->running) {
        done(0, ERROR_BUSY, "a reclaim is running already, there is one at a time; try again in 2 s",
                userdata);
        return;
    }
    if (reclaim_admit(&w->gate, bytes, now_usec(), &w->bytes, &error, text) < 0) {
        done(0, error, text, userdata);
        return;
    }
    atomic_store(&w->stop, false);
    atomic_store(&w->progress, 0);
    r = start_thread(w);
    if (r < 0) {
        (void)snprintf(text, sizeof(text), "no thread for it: %s", strerror(-r));
        done(0, SD_BUS_ERROR_FAILED, text, userdata);
        return;
    }
    w->running = true;
    w->done = done;
    w->userdata = userdata;
    (void)sd_event_source_set_time_relative(w->late, ANSWER_USEC);
    (void)sd_event_source_set_enabled(w->late, SD_EVENT_ONESHOT);
}

int reclaim_worker_new(sd_event *event, const char *cgroupfs, const char *procfs, struct reclaim_worker **ret)
{
    struct reclaim_worker *w = calloc(1, sizeof(*w));
    int r = 0;

    if (!w)
        return -ENOMEM;
    w->cgroupfs = strdup(cgroupfs);
    if (asprintf(&w->meminfo_path, "%s/meminfo", procfs) < 0)
        w->meminfo_path = NULL;
    w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->event_fd < 0)
        r = -errno;
    else if (!w->cgroupfs || !w->meminfo_path)
        r = -ENOMEM;
    if (r >= 0)
        r = sd_event_add_io(event, &w->ended, w->event_fd, EPOLLIN, on_ended, w);
    if (r >= 0)
        r = sd_event_add_time(event, &w->late, CLOCK_MONOTONIC, 0, 10 * USEC_PER_MSEC, on_late, w);
    if (r >= 0)
        r = sd_event_source_set_enabled(w->late, SD_EVENT_OFF);
    if (r < 0) {
        reclaim_worker_free(w);
        return r;
    }
    *ret = w;
    return 0;
}

struct reclaim_worker *reclaim_worker_free(struct reclaim_worker *w)
{
    struct timespec until;

    if (!w)
        return NULL;
    reclaim_worker_give_up(w);
    sd_event_source_disable_unref(w->ended);
    sd_event_source_disable_unref(w->late);
    if (w->running) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += EXIT_SECONDS;
        /* Everything that it may still touch stays. */
        if (pthread_timedjoin_np(w->thread, NULL, &until) != 0)
            return NULL;
    }
    closep(&w->event_fd);
    free(w->cgroupfs);
    free(w->meminfo_path);
    free(w);
    return NULL;
}
