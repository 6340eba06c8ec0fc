/* SPDX-License-Identifier: MIT */
#include "reserve.h"

#include <fcntl.h>
#include <glib.h>
#include <sys/epoll.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "headroom.h"
#include "log.h"
#include "meminfo.h"
#include "names.h"
#include "service.h"

#define FD_NAME "reservation-"
/* How often the memory in use is measured while a reservation has a base. */
#define LOOK_USEC (5 * USEC_PER_SEC)

struct slot {
    struct reserve *reserve;
    int fd; /* our end; it hangs up when the last holder of the other one has gone */
    int other;
    sd_event_source *source;
    sd_bus_message *waiting; /* who has no answer yet */
    bool plugging;           /* granted: the size has still to come */
    uint64_t target;
    uint64_t deadline;
};

struct reserve {
    sd_event *event;
    sd_event_source *timer;
    struct actuator *actuator;
    char *meminfo;
    char *saved;
    struct actuator_view view;
    uint64_t next_look; /* when the memory in use is measured next, CLOCK_MONOTONIC */
    struct reservations table;
    struct slot slots[RESERVATIONS_MAX];
};

static void save(struct reserve *r)
{
    g_autofree char *text = reservations_format(&r->table);
    g_autoptr(GError) error = NULL;

    if (!g_file_set_contents(r->saved, text, -1, &error))
        log_warning("reservations will not outlive a restart: %s", error->message);
}

static void publish(struct reserve *r)
{
    actuator_set_reserved(r->actuator, reservations_bytes(&r->table), reservations_floor(&r->table));
}

static void keep_in_store(uint64_t id, int fd)
{
    char state[64];

    (void)snprintf(state, sizeof(state), "FDSTORE=1\nFDNAME=" FD_NAME "%llu", (unsigned long long)id);
    (void)sd_pid_notify_with_fds(0, false, state, &fd, 1);
}

static void slot_end(struct reserve *r, size_t i)
{
    struct slot *s = &r->slots[i];

    (void)sd_notifyf(
            false, "FDSTOREREMOVE=1\nFDNAME=" FD_NAME "%llu", (unsigned long long)r->table.table[i].id);
    s->source = sd_event_source_disable_unref(s->source);
    closep(&s->fd);
    closep(&s->other);
    sd_bus_message_unref(s->waiting);
    *s = (struct slot){ .reserve = r, .fd = -EBADF, .other = -EBADF };
    reservations_drop(&r->table, i);
    save(r);
    publish(r);
}

static void slot_fail(struct reserve *r, size_t i, const char *error, const char *text)
{
    (void)sd_bus_reply_method_errorf(r->slots[i].waiting, error, "nothing is reserved: %s", text);
    slot_end(r, i);
}

static int on_hangup(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct slot *s = userdata;
    struct reserve *r = s->reserve;
    size_t i = (size_t)(s - r->slots);

    log_info("reservation of %s for %s has ended", FORMAT_BYTES(r->table.table[i].bytes),
            r->table.table[i].who);
    slot_end(r, i);
    return 0;
}

static int watch(struct reserve *r, size_t i)
{
    return sd_event_add_io(r->event, &r->slots[i].source, r->slots[i].fd, 0, on_hangup, &r->slots[i]);
}

static void slot_ready(struct reserve *r, size_t i)
{
    const struct reservation *one = &r->table.table[i];
    struct slot *s = &r->slots[i];

    (void)sd_bus_reply_method_return(s->waiting, "h", s->other);
    s->waiting = sd_bus_message_unref(s->waiting);
    closep(&s->other);
    s->other = -EBADF;
    log_info("reserved %s for %s (%s), uid %u: size stays at %s or more", FORMAT_BYTES(one->bytes), one->who,
            one->why, (unsigned)one->uid, FORMAT_BYTES(reservations_floor(&r->table)));
    if (watch(r, i) < 0)
        slot_end(r, i);
}

static void set_timer(struct reserve *r)
{
    uint64_t next = USEC_FOREVER;

    for (size_t i = 0; i < RESERVATIONS_MAX; i++)
        if (r->slots[i].waiting && r->slots[i].plugging)
            next = MIN_OF(next, r->slots[i].deadline);
    if (reservations_have_base(&r->table))
        next = MIN_OF(next, r->next_look);
    if (next != USEC_FOREVER)
        (void)sd_event_source_set_time(r->timer, next);
    (void)sd_event_source_set_enabled(r->timer, next == USEC_FOREVER ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

void reserve_follow(struct reserve *r, const struct actuator_view *v)
{
    uint64_t now = now_usec();
    char text[128];

    r->view = *v;
    for (size_t i = 0; i < RESERVATIONS_MAX; i++) {
        struct slot *s = &r->slots[i];

        if (!s->waiting || !s->plugging)
            continue;
        if (v->size >= s->target)
            slot_ready(r, i);
        else if (now >= s->deadline) {
            (void)snprintf(text, sizeof(text), "%s of %s were plugged in %u s", FORMAT_BYTES(v->size),
                    FORMAT_BYTES(s->target), (unsigned)(RESERVE_TIMEOUT_USEC / USEC_PER_SEC));
            slot_fail(r, i, ERROR_HOST_UNAVAILABLE, text);
        }
    }
    set_timer(r);
}

static uint64_t headroom_of(const struct reserve *r)
{
    return MAX_OF(HEADROOM_MIN, r->view.guard_headroom);
}

/* An unknown size or an unreadable meminfo lowers nothing; the next request reports the error. */
static void lower_bases(struct reserve *r)
{
    const struct actuator_view *v = &r->view;
    uint64_t floor = reservations_floor(&r->table);
    struct meminfo m;

    r->next_look = now_usec() + LOOK_USEC;
    if (!v->host_connected || !reservations_have_base(&r->table) || meminfo_read(r->meminfo, &m) < 0 ||
            !reservations_lower(&r->table, MAX_OF(v->memory_block_size, 1), v->size, v->requested_size,
                    m.available, headroom_of(r)))
        return;
    log_debug("%s are available: lowered the floor of the reservations to %s from %s",
            FORMAT_BYTES(m.available), FORMAT_BYTES(reservations_floor(&r->table)), FORMAT_BYTES(floor));
    save(r);
    publish(r);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct reserve *r = userdata;

    if (now_usec() >= r->next_look)
        lower_bases(r);
    reserve_follow(r, &r->view);
    return 0;
}

/* A request's answer finds its slot by the reservation's id. */
struct asked {
    struct reserve *reserve;
    uint64_t id;
    uint64_t needed; /* the size it takes */
    uint64_t base;   /* of that, beside what is reserved */
    uint64_t target; /* that in whole blocks */
};

static void granted(struct reserve *r, size_t i, uint64_t needed, uint64_t base)
{
    if (!reservations_have_base(&r->table)) {
        r->table.used = UINT64_MAX;
        r->next_look = now_usec() + LOOK_USEC;
    }
    r->table.table[i].base = base;
    r->slots[i].plugging = true;
    r->slots[i].target = needed;
    r->slots[i].deadline = now_usec() + RESERVE_TIMEOUT_USEC;
    keep_in_store(r->table.table[i].id, r->slots[i].fd);
    save(r);
    publish(r);
    reserve_follow(r, &r->view);
}

static void on_plugged(uint64_t requested_size, const char *error, const char *text, void *userdata)
{
    g_autofree struct asked *asked = userdata;
    struct reserve *r = asked->reserve;
    char part[128];
    size_t i = 0;

    while (i < RESERVATIONS_MAX && r->table.table[i].id != asked->id)
        i++;
    if (i == RESERVATIONS_MAX)
        return;
    if (error)
        slot_fail(r, i, error, text);
    else if (requested_size < asked->target) {
        (void)snprintf(part, sizeof(part), "the host granted a size of %s where %s are needed",
                FORMAT_BYTES(requested_size), FORMAT_BYTES(asked->target));
        slot_fail(r, i, ERROR_HOST_REFUSED, part);
    } else
        granted(r, i, asked->needed, asked->base);
}

static int find_target(
        struct reserve *r, uint64_t bytes, uint64_t *ret_needed, uint64_t *ret_target, sd_bus_error *error)
{
    const struct actuator_view *v = &r->view;
    uint64_t headroom = headroom_of(r), needed, target, waiting = 0;
    struct meminfo m;
    int e = meminfo_read(r->meminfo, &m);

    if (e < 0)
        return sd_bus_error_setf(error, SD_BUS_ERROR_FAILED, "%s: %s", r->meminfo, strerror(-e));
    /* Those that wait for the host's answer are not in any of the numbers yet. */
    for (size_t i = 0; i < RESERVATIONS_MAX; i++)
        if (r->slots[i].waiting && !r->slots[i].plugging)
            waiting += r->table.table[i].bytes;
    needed =
            reservations_needed(&r->table, bytes, waiting, v->size, v->requested_size, m.available, headroom);
    if (needed > v->max_size)
        return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                "nothing is reserved: %s beside a headroom of %s need a size of %s, the max size is %s: %s "
                "are "
                "missing",
                FORMAT_BYTES(bytes), FORMAT_BYTES(headroom), FORMAT_BYTES(needed), FORMAT_BYTES(v->max_size),
                FORMAT_BYTES(needed - v->max_size));
    /* Memory blocks come online whole; the last one may be a part. */
    if (bytes_round_up(needed, MAX_OF(v->memory_block_size, 1), &target) < 0)
        target = v->max_size;
    *ret_needed = needed;
    *ret_target = MIN_OF(target, v->max_size);
    return 0;
}

static int slot_open(struct reserve *r, size_t i, sd_bus_message *m)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    r->slots[i].fd = fds[0];
    r->slots[i].other = fds[1];
    r->slots[i].waiting = sd_bus_message_ref(m);
    return 0;
}

static uint64_t boottime_usec(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}

int reserve_request(struct reserve *r, sd_bus_message *m, uid_t uid, uint64_t bytes, const char *who,
        const char *why, sd_bus_error *error)
{
    struct reservation wanted = { .bytes = bytes, .uid = uid, .since = boottime_usec() };
    uint64_t there = MAX_OF(r->view.size, r->view.requested_size), target = 0, needed = 0, base;
    char text[MAX_OF(RESERVATIONS_TEXT_MAX, LIMITS_TEXT_MAX)];
    struct asked *asked;
    size_t i;
    int e;

    if (actuator_may_reserve(r->actuator, text) < 0)
        return sd_bus_error_setf(error, ERROR_RATE_LIMITED, "nothing is reserved: %s", text);
    e = find_target(r, bytes, &needed, &target, error);
    if (e < 0)
        return e;
    (void)snprintf(wanted.who, sizeof(wanted.who), "%s", who);
    (void)snprintf(wanted.why, sizeof(wanted.why), "%s", why);
    if (reservations_add(&r->table, &wanted, r->view.max_size, &i, text) < 0)
        return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED, "nothing is reserved: %s", text);
    e = slot_open(r, i, m);
    if (e < 0) {
        slot_end(r, i);
        return e;
    }
    base = reservations_base(&r->table, needed);
    if (target <= there) {
        granted(r, i, needed, base);
        return 1;
    }
    asked = g_new(struct asked, 1);
    *asked = (struct asked){
        .reserve = r, .id = r->table.table[i].id, .needed = needed, .base = base, .target = target
    };
    (void)snprintf(text, sizeof(text), "reserved for %s", who);
    actuator_request_size(r->actuator, target, text, on_plugged, asked);
    return 1;
}

/* What systemd kept for us. Whoever has let go meanwhile hangs up at once. */
static void restore(struct reserve *r)
{
    g_autofree char *text = NULL;
    char **names = NULL;
    int n = sd_listen_fds_with_names(true, &names);

    if (!g_file_get_contents(r->saved, &text, NULL, NULL) || reservations_parse(&r->table, text) < 0)
        r->table = (struct reservations){ 0 };
    for (int k = 0; k < n; k++) {
        int fd = SD_LISTEN_FDS_START + k;
        uint64_t id = 0;
        size_t i = 0;

        if (g_str_has_prefix(names[k], FD_NAME))
            (void)g_ascii_string_to_unsigned(names[k] + strlen(FD_NAME), 10, 1, INT64_MAX, &id, NULL);
        while (i < RESERVATIONS_MAX && (id == 0 || r->table.table[i].id != id))
            i++;
        if (i == RESERVATIONS_MAX || r->slots[i].fd >= 0)
            close(fd);
        else
            r->slots[i].fd = fd;
    }
    for (int k = 0; k < n; k++)
        free(names[k]);
    free(names);
    for (size_t i = 0; i < RESERVATIONS_MAX; i++)
        if (r->table.table[i].id > 0 && (r->slots[i].fd < 0 || watch(r, i) < 0))
            slot_end(r, i);
}

int reserve_new(
        sd_event *event, struct actuator *a, const char *procfs, const char *saved, struct reserve **ret)
{
    struct reserve *r = g_new0(struct reserve, 1);
    int e;

    r->event = sd_event_ref(event);
    r->actuator = a;
    r->meminfo = g_strdup_printf("%s/meminfo", procfs);
    r->saved = g_strdup(saved);
    for (size_t i = 0; i < RESERVATIONS_MAX; i++)
        r->slots[i] = (struct slot){ .reserve = r, .fd = -EBADF, .other = -EBADF };
    e = sd_event_add_time(event, &r->timer, CLOCK_MONOTONIC, 0, 100 * USEC_PER_MSEC, on_timer, r);
    if (e < 0) {
        reserve_free(r);
        return e;
    }
    (void)sd_event_source_set_enabled(r->timer, SD_EVENT_OFF);
    restore(r);
    publish(r);
    *ret = r;
    return 0;
}

struct reserve *reserve_free(struct reserve *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < RESERVATIONS_MAX; i++) {
        sd_event_source_disable_unref(r->slots[i].source);
        closep(&r->slots[i].fd);
        closep(&r->slots[i].other);
        sd_bus_message_unref(r->slots[i].waiting);
    }
    sd_event_source_disable_unref(r->timer);
    sd_event_unref(r->event);
    g_free(r->meminfo);
    g_free(r->saved);
    g_free(r);
    return NULL;
}

const struct reservations *reserve_table(const struct reserve *r)
{
    return &r->table;
}
