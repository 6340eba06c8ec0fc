/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>

#include "log.h"
#include "procfile.h"

#define SLOW_INTERVAL_USEC (100 * USEC_PER_MSEC)

#define MEASURE_BYTES MIB(2)
#define MEASURE_ROUNDS 4u
/* Limits of the measured rate: a very fast machine must not cause a sample every 20 ms, nor a busy machine
 * samples that are too rare. */
#define FASTEST_MIN MIB(64)
#define FASTEST_MAX GIB(2)

static int open_file(const char *procfs, const char *name)
{
    char path[256];
    int fd;

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", procfs, name) >= sizeof(path))
        return -ENAMETOOLONG;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? -errno : fd;
}

int sampler_open(struct sampler *s, const char *procfs)
{
    s->zoneinfo_fd = open_file(procfs, "zoneinfo");
    s->vmstat_fd = open_file(procfs, "vmstat");
    s->pressure_fd = open_file(procfs, "pressure/memory");
    s->slow_time = 0;
    s->last = (struct decide_sample){ 0 };
    s->meminfo_fd = open_file(procfs, "meminfo");
    if (s->pressure_fd < 0)
        log_warning("%s/pressure/memory: %s; deciding without pressure", procfs, strerror(-s->pressure_fd));
    return s->meminfo_fd < 0 ? s->meminfo_fd : 0;
}

void sampler_close(struct sampler *s)
{
    closep(&s->meminfo_fd);
    closep(&s->zoneinfo_fd);
    closep(&s->vmstat_fd);
    closep(&s->pressure_fd);
}

static bool read_text(struct sampler *s, int fd)
{
    size_t len;

    return fd >= 0 && procfile_read_fd(fd, s->buffer, sizeof(s->buffer), &len) >= 0;
}

static void read_slow(struct sampler *s, struct decide_sample *p)
{
    p->have_vmstat = read_text(s, s->vmstat_fd) && vmstat_parse(s->buffer, &p->vmstat) >= 0;
    p->have_pressure = read_text(s, s->pressure_fd) && pressure_parse(s->buffer, &p->pressure) >= 0;
}

/* Reads both files together: zoneinfo has the kernel's reserve, which MemAvailable does not contain and which
 * changes with each plugged block. */
static void read_memory(struct sampler *s, struct decide_sample *p)
{
    uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE);

    p->have_meminfo = read_text(s, s->meminfo_fd) && meminfo_parse(s->buffer, &p->meminfo) >= 0;
    p->have_zones = read_text(s, s->zoneinfo_fd) && zoneinfo_parse(s->buffer, page_size, &p->zones) >= 0;
}

void sampler_read(struct sampler *s, uint64_t now, struct decide_sample *p)
{
    bool slow = s->slow_time == 0 || now < s->slow_time || now >= s->slow_time + SLOW_INTERVAL_USEC;

    read_memory(s, &s->last);
    if (slow) {
        read_slow(s, &s->last);
        s->slow_time = now;
    }
    p->have_meminfo = s->last.have_meminfo;
    p->meminfo = s->last.meminfo;
    p->have_zones = s->last.have_zones;
    p->zones = s->last.zones;
    p->have_vmstat = s->last.have_vmstat;
    p->vmstat = s->last.vmstat;
    p->vmstat_fresh = slow;
    p->have_pressure = s->last.have_pressure;
    p->pressure = s->last.pressure;
    p->pressure_fresh = slow;
}

/* Measures thread CPU time, which does not include waiting for a processor. */
static uint64_t touch_nsec(void)
{
    struct timespec a, b;
    char *m = mmap(NULL, MEASURE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t nsec;

    if (m == MAP_FAILED)
        return UINT64_MAX;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    for (size_t i = 0; i < MEASURE_BYTES; i += 4096)
        m[i] = 1;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    munmap(m, MEASURE_BYTES);
    nsec = (uint64_t)(b.tv_sec - a.tv_sec) * 1000000000 + (uint64_t)b.tv_nsec - (uint64_t)a.tv_nsec;
    return MAX_OF(nsec, 1);
}

uint64_t sampler_measure_fastest(void)
{
    uint64_t best = UINT64_MAX, rate;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    for (unsigned i = 0; i < MEASURE_ROUNDS; i++)
        best = MIN_OF(best, touch_nsec());
    rate = MEASURE_BYTES * 1000000000 / best * (uint64_t)MAX_OF(cpus, 1);
    return CLAMP_TO(rate, FASTEST_MIN, FASTEST_MAX);
}
