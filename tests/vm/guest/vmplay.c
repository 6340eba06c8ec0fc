/* SPDX-License-Identifier: MIT */

/* Plays a recording of memory demand in the guest: takes and frees anonymous memory, and page cache if the
 * recording has any, at the times that it names.
 *
 * vmplay reads rows "time_us used_bytes cached_bytes" from a file or standard input and interpolates between
 * them. What the first row holds is taken before the clock starts. A player that falls behind skips no row
 * and catches up. One JSON object a line on standard output; "t_us" is CLOCK_MONOTONIC: start  used_bytes at
 * row, late_us: every ten seconds done   late_max_us (the longest that a chunk came after its time),
 * late_total_us (how long the player was behind schedule in all), peak_bytes (of anonymous memory)
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

#define PAGE 4096U
#define CHUNK (4U * 1024 * 1024)
#define CHUNKS_MAX 16384U /* 64 GiB */
#define SAY_USEC (10U * 1000 * 1000)
#define LATE_USEC (20U * 1000) /* less is the scheduler's doing */
#define FIRST_ROW_RATE 200U    /* bytes per usec */

struct row {
    uint64_t time_us, chunks[2];
};

enum {
    USED,
    CACHED,
};

static struct {
    struct row *rows;
    size_t n_rows;
    char *memory[CHUNKS_MAX];
    uint64_t have[2], peak;
    int file;
    uint64_t begin_us, said_us;
    uint64_t late_us, late_max_us, late_total_us;
    uint64_t counted_us; /* up to here the time behind schedule has been counted */
} player;

static int read_rows(FILE *in)
{
    uint64_t time_us, used, cached;
    int n;

    while ((n = fscanf(in, "%" SCNu64 " %" SCNu64 " %" SCNu64, &time_us, &used, &cached)) == 3) {
        struct row *rows = reallocarray(player.rows, player.n_rows + 1, sizeof(*rows));

        if (!rows)
            return -ENOMEM;
        player.rows = rows;
        if (used / CHUNK >= CHUNKS_MAX || (player.n_rows > 0 && time_us < rows[player.n_rows - 1].time_us))
            return -EINVAL;
        rows[player.n_rows++] = (struct row){ time_us, { used / CHUNK, cached / CHUNK } };
    }
    return n == EOF && player.n_rows > 0 ? 0 : -EINVAL;
}

/* Page cache without a disk's speed in it: a sparse file has no blocks to read. */
static int open_cache(void)
{
    char path[] = "/var/tmp/vmplay.XXXXXX";
    uint64_t most = 0;
    int fd;

    for (size_t i = 0; i < player.n_rows; i++)
        if (player.rows[i].chunks[CACHED] > most)
            most = player.rows[i].chunks[CACHED];
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    player.file = fd;
    return unlink(path) < 0 || ftruncate(fd, (off_t)(most * CHUNK)) < 0 ? -errno : 0;
}

static int take_memory(void)
{
    char *p = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return -errno;
    for (size_t i = 0; i < CHUNK; i += PAGE)
        *(volatile char *)(p + i) = 1;
    player.memory[player.have[USED]++] = p;
    if (player.have[USED] > player.peak)
        player.peak = player.have[USED];
    return 0;
}

static int take_cache(void)
{
    static char buffer[64 * 1024];
    off_t at = (off_t)(player.have[CACHED]++ * CHUNK);

    for (size_t i = 0; i < CHUNK; i += sizeof(buffer))
        if (pread(player.file, buffer, sizeof(buffer), at + (off_t)i) < 0)
            return -errno;
    return 0;
}

static void free_last(int what)
{
    player.have[what]--;
    if (what == USED)
        munmap(player.memory[player.have[USED]], CHUNK);
    else
        posix_fadvise(player.file, (off_t)(player.have[CACHED] * CHUNK), CHUNK, POSIX_FADV_DONTNEED);
}

/* One chunk towards the target. */
static int step(int what, uint64_t target)
{
    if (player.have[what] > target) {
        free_last(what);
        return 0;
    }
    return what == USED ? take_memory() : take_cache();
}

static void count_lateness(uint64_t due)
{
    uint64_t now = now_us(), from = due > player.counted_us ? due : player.counted_us;

    player.late_us = now > due ? now - due : 0;
    if (player.late_us > player.late_max_us)
        player.late_max_us = player.late_us;
    if (player.late_us < LATE_USEC)
        return;
    player.late_total_us += now - from;
    player.counted_us = now;
}

static void report_progress(size_t row)
{
    uint64_t now = now_us();

    if (now - player.said_us < SAY_USEC)
        return;
    player.said_us = now;
    printf("{\"t_us\": %" PRIu64 ", \"event\": \"at\", \"row\": %zu, \"late_us\": %" PRIu64 "}\n", now, row,
            player.late_us);
}

static uint64_t distance(int what, const struct row *to)
{
    uint64_t have = player.have[what], target = to->chunks[what];

    return have > target ? have - target : target - have;
}

/* The chunks of both sorts are spread evenly over the time between two rows. */
static int play_row(size_t index)
{
    const struct row *from = &player.rows[index - 1], *to = &player.rows[index];
    const uint64_t total = distance(USED, to) + distance(CACHED, to);
    uint64_t due;

    for (uint64_t done = 1; done <= total; done++) {
        int what = distance(USED, to) >= distance(CACHED, to) ? USED : CACHED, r;

        due = player.begin_us + from->time_us + (to->time_us - from->time_us) * done / total;
        sleep_until_us(due);
        r = step(what, to->chunks[what]);
        if (r < 0)
            return r;
        count_lateness(due);
        report_progress(index);
    }
    sleep_until_us(player.begin_us + to->time_us);
    report_progress(index);
    return 0;
}

/* A recording that begins high begins with that much in use, at a rate that is no surge. */
static int take_first_row(void)
{
    const struct row *first = &player.rows[0];

    for (int what = USED; what <= CACHED; what++)
        while (player.have[what] < first->chunks[what]) {
            uint64_t next = now_us() + CHUNK / FIRST_ROW_RATE;
            int r = step(what, first->chunks[what]);

            if (r < 0)
                return r;
            sleep_until_us(next);
        }
    return 0;
}

static int play(void)
{
    int r = take_first_row();

    if (r < 0)
        return r;
    player.begin_us = player.said_us = now_us();
    printf("{\"t_us\": %" PRIu64 ", \"event\": \"start\", \"used_bytes\": %" PRIu64 "}\n", player.begin_us,
            player.have[USED] * CHUNK);
    for (size_t i = 1; i < player.n_rows; i++) {
        r = play_row(i);
        if (r < 0)
            return r;
    }
    printf("{\"t_us\": %" PRIu64 ", \"event\": \"done\", \"late_max_us\": %" PRIu64
           ", \"late_total_us\": %" PRIu64 ", \"peak_bytes\": %" PRIu64 "}\n",
            now_us(), player.late_max_us, player.late_total_us, player.peak * CHUNK);
    return 0;
}

int main(int argc, char **argv)
{
    int r;

    setlinebuf(stdout);
    if (argc > 2) {
        fprintf(stderr, "Usage: vmplay [FILE]\n");
        return 2;
    }
    if (argc == 2 && !freopen(argv[1], "r", stdin)) {
        perror(argv[1]);
        return 1;
    }
    r = read_rows(stdin);
    if (r >= 0)
        r = open_cache();
    if (r >= 0)
        r = play();
    if (r < 0) {
        fprintf(stderr, "vmplay: %s\n", strerror(-r));
        return 1;
    }
    return 0;
}
