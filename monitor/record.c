/* SPDX-License-Identifier: MIT */
#include "record.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>

#include "log.h"

#define BUFFER_SIZE (64 * 1024)
#define FLUSH_USEC (2 * USEC_PER_SEC)
/* Each number has at most 20 digits and a comma; names are shorter. */
#define ROW_MAX (ELEMENTSOF(columns) * 24)

struct recorder {
    int fd; /* negative: the recording has ended */
    char *path;
    uint64_t offset; /* of the file's end, always after a complete line */
    bool begun;
    uint64_t start;
    uint64_t last; /* time of the last line since the start */
    uint64_t flushed;
    size_t len;
    char buffer[BUFFER_SIZE];
};

enum kind {
    KIND_U64,
    KIND_U64_OR_NONE, /* UINT64_MAX: none */
    KIND_U32,
    KIND_BOOL,
    KIND_ACTION,
    KIND_WHY,
    KIND_LEVEL,
    _KIND_MAX,
    _KIND_INVALID = -EINVAL,
};

/* The values of a line. */
struct row {
    uint64_t used;
    uint64_t cached;
    struct decide_sample sample;
    struct decision decision;
};

#define ALWAYS SIZE_MAX
#define OF(member) offsetof(struct row, member)
#define MEMINFO(name, member)                                                                                \
    {                                                                                                        \
        name, KIND_U64, OF(sample.meminfo.member), ALWAYS                                                    \
    }
#define ZONES(name, member)                                                                                  \
    {                                                                                                        \
        name, KIND_U64, OF(sample.zones.member), OF(sample.have_zones)                                       \
    }
#define PRESSURE(line)                                                                                       \
    { #line "_avg10_permyriad", KIND_U32, OF(sample.pressure.line.avg10), OF(sample.have_pressure) },        \
            { #line "_avg60_permyriad", KIND_U32, OF(sample.pressure.line.avg60),                            \
                OF(sample.have_pressure) },                                                                  \
            { #line "_avg300_permyriad", KIND_U32, OF(sample.pressure.line.avg300),                          \
                OF(sample.have_pressure) },                                                                  \
    {                                                                                                        \
#line "_total_us", KIND_U64, OF(sample.pressure.line.total), OF(sample.have_pressure)                \
    }
#define VMSTAT(member)                                                                                       \
    {                                                                                                        \
#member, KIND_U64, OF(sample.vmstat.member), OF(sample.have_vmstat)                                  \
    }
#define SAMPLE(name, kind, member)                                                                           \
    {                                                                                                        \
        name, kind, OF(sample.member), ALWAYS                                                                \
    }
#define DECISION(name, kind, member)                                                                         \
    {                                                                                                        \
        name, kind, OF(decision.member), ALWAYS                                                              \
    }

static const struct column {
    const char *name;
    enum kind kind;
    size_t offset;
    size_t known; /* offset of a bool; when false the cell is empty */
} columns[] = {
    { "used_bytes", KIND_U64, OF(used), ALWAYS },
    { "cached_bytes", KIND_U64, OF(cached), ALWAYS },
    MEMINFO("mem_total_bytes", total),
    MEMINFO("mem_free_bytes", free),
    MEMINFO("mem_available_bytes", available),
    MEMINFO("buffers_bytes", buffers),
    MEMINFO("file_cached_bytes", cached),
    MEMINFO("shmem_bytes", shmem),
    MEMINFO("sreclaimable_bytes", sreclaimable),
    MEMINFO("active_file_bytes", active_file),
    MEMINFO("inactive_file_bytes", inactive_file),
    MEMINFO("swap_total_bytes", swap_total),
    MEMINFO("swap_free_bytes", swap_free),
    ZONES("kernel_free_bytes", kernel_free),
    ZONES("kernel_low_bytes", kernel_low),
    ZONES("kernel_min_bytes", kernel_min),
    ZONES("kernel_managed_bytes", kernel_managed),
    ZONES("kernel_file_bytes", kernel_file),
    ZONES("kernel_room_bytes", kernel_room),
    ZONES("kernel_reserve_bytes", kernel_reserve),
    ZONES("user_room_bytes", user_room),
    ZONES("movable_free_bytes", movable_free),
    ZONES("movable_managed_bytes", movable_managed),
    PRESSURE(some),
    PRESSURE(full),
    VMSTAT(workingset_refault_anon),
    VMSTAT(workingset_refault_file),
    VMSTAT(pgscan_direct),
    VMSTAT(pgsteal_direct),
    VMSTAT(pgsteal_kswapd),
    VMSTAT(pswpin),
    VMSTAT(pswpout),
    VMSTAT(oom_kill),
    SAMPLE("event_early", KIND_BOOL, event_early),
    SAMPLE("event_hard", KIND_BOOL, event_hard),
    SAMPLE("connected", KIND_BOOL, connected),
    SAMPLE("in_flight", KIND_BOOL, in_flight),
    SAMPLE("size_bytes", KIND_U64, size),
    SAMPLE("requested_size_bytes", KIND_U64, requested_size),
    SAMPLE("min_size_bytes", KIND_U64, min_size),
    SAMPLE("max_size_bytes", KIND_U64_OR_NONE, max_size),
    SAMPLE("shrink_to_bytes", KIND_U64_OR_NONE, shrink_to),
    SAMPLE("boot_size_bytes", KIND_U64, boot_size),
    SAMPLE("guard_armed", KIND_BOOL, guard_armed),
    SAMPLE("guard_held", KIND_BOOL, guard_held),
    SAMPLE("unguarded", KIND_BOOL, unguarded),
    SAMPLE("reclaiming", KIND_BOOL, reclaiming),
    DECISION("action", KIND_ACTION, action),
    DECISION("change_bytes", KIND_U64, bytes),
    DECISION("why", KIND_WHY, why),
    DECISION("level", KIND_LEVEL, level),
    DECISION("wait_us", KIND_U64, wait_usec),
    DECISION("available_bytes", KIND_U64, available),
    DECISION("projected_bytes", KIND_U64, projected),
    DECISION("headroom_bytes", KIND_U64, headroom),
    DECISION("rate_bytes_per_s", KIND_U64, rate),
    DECISION("round_trip_us", KIND_U64, round_trip),
    DECISION("spare_bytes", KIND_U64, spare),
    DECISION("pressure10_permyriad", KIND_U32, pressure10),
    DECISION("pressure60_permyriad", KIND_U32, pressure60),
    DECISION("refault_rate_bytes_per_s", KIND_U64, refault_rate),
    DECISION("decline", KIND_BOOL, decline),
    DECISION("guard_headroom_bytes", KIND_U64, guard_headroom),
    DECISION("reclaim_bytes", KIND_U64, reclaim),
};

/* Ends the recording and truncates the file to complete lines. written: bytes of the buffer in the file. */
static void end_recording(struct recorder *r, size_t written, int error)
{
    const char *end = memrchr(r->buffer, '\n', written);

    r->offset += end ? (size_t)(end + 1 - r->buffer) : 0;
    log_warning("%s: %s: the recording ends after %" PRIu64 " bytes", r->path, strerror(error), r->offset);
    if (ftruncate(r->fd, (off_t)r->offset) < 0)
        log_warning("%s: the last line is incomplete: %s", r->path, strerror(errno));
    closep(&r->fd);
    r->fd = -EBADF;
}

static void flush(struct recorder *r)
{
    size_t written = 0;

    while (r->fd >= 0 && written < r->len) {
        ssize_t n = write(r->fd, r->buffer + written, r->len - written);

        if (n > 0)
            written += (size_t)n;
        else if (n == 0 || errno != EINTR)
            end_recording(r, written, n == 0 ? ENOSPC : errno);
    }
    r->offset += r->fd >= 0 ? r->len : 0;
    r->len = 0;
}

static void append(struct recorder *r, const char *row, size_t len)
{
    if (len > sizeof(r->buffer) - r->len)
        flush(r);
    memcpy(r->buffer + r->len, row, len);
    r->len += len;
}

static const char *name_of(enum kind kind, const void *value)
{
    int number;

    memcpy(&number, value, sizeof(number));
    switch (kind) {
    case KIND_ACTION:
        return decide_action_to_string((enum decide_action)number);
    case KIND_WHY:
        return decide_why_to_string((enum decide_why)number);
    case KIND_LEVEL:
        return channel_level_to_string((enum channel_level)number);
    case KIND_U64:
    case KIND_U64_OR_NONE:
    case KIND_U32:
    case KIND_BOOL:
    case _KIND_MAX:
    case _KIND_INVALID:
        break;
    }
    return NULL;
}

/* Formats a cell with a comma before it and returns its length. */
static size_t format_cell(char *cell, size_t size, const struct column *c, const struct row *row)
{
    const void *value = (const char *)row + c->offset;
    uint64_t u64;
    uint32_t u32;
    int n;

    if (c->known != ALWAYS && !*(const bool *)((const char *)row + c->known))
        n = snprintf(cell, size, ",");
    else if (c->kind == KIND_U32) {
        memcpy(&u32, value, sizeof(u32));
        n = snprintf(cell, size, ",%" PRIu32, u32);
    } else if (c->kind == KIND_BOOL)
        n = snprintf(cell, size, ",%d", *(const bool *)value);
    else if (c->kind == KIND_U64 || c->kind == KIND_U64_OR_NONE) {
        memcpy(&u64, value, sizeof(u64));
        n = c->kind == KIND_U64_OR_NONE && u64 == UINT64_MAX ? snprintf(cell, size, ",")
                                                             : snprintf(cell, size, ",%" PRIu64, u64);
    } else
        n = snprintf(cell, size, ",%s", name_of(c->kind, value) ?: "");
    return n > 0 ? MIN_OF((size_t)n, size - 1) : 0;
}

static void append_row(struct recorder *r, uint64_t time, const struct row *row)
{
    char line[ROW_MAX];
    size_t len = (size_t)snprintf(
            line, sizeof(line), "%" PRIu64 ".%06" PRIu64, time / USEC_PER_SEC, time % USEC_PER_SEC);

    for (size_t i = 0; i < ELEMENTSOF(columns); i++)
        len += format_cell(line + len, sizeof(line) - len, &columns[i], row);
    line[MIN_OF(len, sizeof(line) - 1)] = '\n';
    append(r, line, MIN_OF(len, sizeof(line) - 1) + 1);
}

static void append_header(struct recorder *r)
{
    append(r, "time_s", strlen("time_s"));
    for (size_t i = 0; i < ELEMENTSOF(columns); i++) {
        append(r, ",", 1);
        append(r, columns[i].name, strlen(columns[i].name));
    }
    append(r, "\n", 1);
}

int recorder_open(const char *path, struct recorder **ret)
{
    struct recorder *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    /* Exceeding RLIMIT_FSIZE must be an error like a full disk, not kill the process. */
    (void)signal(SIGXFSZ, SIG_IGN);
    r->path = strdup(path);
    r->fd = r->path ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0644) : -1;
    if (r->fd < 0) {
        int e = r->path ? -errno : -ENOMEM;

        recorder_free(r);
        return e;
    }
    append_header(r);
    flush(r);
    *ret = r;
    return 0;
}

static uint64_t cached_bytes(const struct meminfo *m)
{
    uint64_t free_to_go = sub_floor(m->buffers + m->cached, m->shmem) + m->sreclaimable;

    return MIN_OF(free_to_go, m->total - m->free);
}

void recorder_write(struct recorder *r, uint64_t now, const struct decide_sample *p, const struct decision *d)
{
    uint64_t time;

    if (!r || r->fd < 0 || !p->have_meminfo)
        return;
    if (!r->begun)
        r->start = r->flushed = now;
    time = sub_floor(now, r->start);
    if (r->begun && time <= r->last)
        time = r->last + 1;
    r->begun = true;
    r->last = time;
    append_row(r, time,
            &(struct row){
                    .cached = cached_bytes(&p->meminfo),
                    .used = p->meminfo.total - p->meminfo.free - cached_bytes(&p->meminfo),
                    .sample = *p,
                    .decision = *d,
            });
    if (now >= r->flushed && now - r->flushed < FLUSH_USEC)
        return;
    flush(r);
    r->flushed = now;
}

struct recorder *recorder_free(struct recorder *r)
{
    if (!r)
        return NULL;
    flush(r);
    closep(&r->fd);
    free(r->path);
    free(r);
    return NULL;
}
