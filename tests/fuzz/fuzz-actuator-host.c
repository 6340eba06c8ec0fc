/* SPDX-License-Identifier: MIT */
/* What a host says to the real actuator, between requests of ours. A line of the input is a line of the
 * host's, unless it begins with a letter of act() below: then it is somebody's request. Everything that the
 * actuator says and answers is held against what the host said and what was asked, which is kept here once
 * more. */
#include "fuzz.h"

#include <sys/socket.h>

#include "actuator.h"
#include "lines.h"
#include "log.h"
#include "names.h"
#include "unix-socket.h"

#define TURNS_MAX 10000u
#define REQUESTS_MAX 64u
#define STEPS_MAX 400u
#define OWN_MAX GIB(6)
/* Of the made-up /proc. */
#define AVAILABLE MIB(800)
#define ANY UINT64_MAX

static const char welcome[] =
        "{\"op\":\"welcome\",\"v\":1,\"agent\":\"a\",\"vm\":\"one\",\"block_size\":2097152,"
        "\"size\":1073741824,\"requested_size\":1073741824,\"min_size\":0,"
        "\"max_size\":8589934592}\n";

struct asked {
    enum limits_verb verb;
    enum actuator_origin origin;
    uint64_t bytes;
    bool done;
};

/* Of one input. */
static struct {
    sd_event *event;
    struct actuator *actuator;
    int peer;
    char buffer[CHANNEL_LINE_MAX];
    struct lines lines;
    bool greeted;

    struct asked asked[REQUESTS_MAX];
    unsigned n, done;

    bool up; /* the actuator says that it has a host */
    uint64_t block, size, requested, host_min, host_max;
    uint64_t own_min, own_max;
    uint64_t sent_id; /* of the last resize */
    bool waiting;     /* it has no answer yet */
    uint64_t shrink_id, shrink_size, signalled;
    bool room; /* it said so at least once */
    bool declining;

    /* Of one step. */
    bool submitting;
    const struct channel_message *line; /* the host's */
    bool answer;                        /* to what waits */
} w;

static void check_text(const char *text, size_t size)
{
    FUZZ_CHECK(strlen(text) < size && g_utf8_validate(text, -1, NULL));
}

/* The oldest one without an answer; REQUESTS_MAX: none. */
static unsigned oldest(void)
{
    for (unsigned i = 0; i < w.n; i++)
        if (!w.asked[i].done)
            return i;
    return REQUESTS_MAX;
}

/* Once for each request, in their order but for one that is refused at once, and granted only by the host's
 * answer to it. */
static void on_done(uint64_t requested_size, const char *error, const char *text, void *userdata)
{
    struct asked *a = userdata;
    unsigned i = (unsigned)(a - w.asked);

    FUZZ_CHECK(i < w.n && !a->done);
    FUZZ_CHECK(i == oldest() || (w.submitting && i == w.n - 1));
    if (error) {
        FUZZ_CHECK(g_str_has_prefix(error, "org.vmtide.Error."));
        check_text(text, LIMITS_TEXT_MAX);
    } else if (w.answer) {
        FUZZ_CHECK(w.line->op == CHANNEL_GRANTED && requested_size == w.line->requested_size);
        w.answer = false;
    } else
        FUZZ_CHECK(a->origin == ACTUATOR_RESERVATION && requested_size == w.requested);
    a->done = true;
    w.done++;
}

static void on_changed(const struct actuator_view *v, void *userdata)
{
    w.up = v->host_connected;
    FUZZ_CHECK(v->max_size <= w.own_max || v->block_size == 0);
    FUZZ_CHECK(v->block_size == 0 || v->min_size <= v->max_size);
    FUZZ_CHECK(*v->state != '\0');
    check_text(v->last_error, sizeof(v->last_error));
}

static void on_size_changed(uint64_t old, uint64_t new, const char *reason, void *userdata)
{
    FUZZ_CHECK(old == w.signalled && new != old);
    w.signalled = new;
    check_text(reason, ACTUATOR_REASON_MAX + 1);
}

static void on_refused(const char *verb, uint64_t bytes, const char *error, const char *text, void *userdata)
{
    FUZZ_CHECK(verb && error);
    check_text(text, LIMITS_TEXT_MAX);
}

static void on_shrink(uint64_t id, uint64_t size, const char *reason, void *userdata)
{
    FUZZ_CHECK(w.up && id == w.shrink_id && size == w.shrink_size);
    check_text(reason, ACTUATOR_REASON_MAX + 1);
}

static void on_room(void *userdata)
{
    FUZZ_CHECK(w.up && w.room);
}

static const struct actuator_ops ops = {
    .changed = on_changed,
    .size_changed = on_size_changed,
    .refused = on_refused,
    .shrink_requested = on_shrink,
    .room = on_room,
};

static uint64_t max_now(void)
{
    return bytes_round_down(MIN_OF(w.own_max, w.host_max), MAX_OF(w.block, 1));
}

static uint64_t min_now(void)
{
    uint64_t min = MAX_OF(w.own_min, w.host_min);

    return bytes_round_up(min, MAX_OF(w.block, 1), &min) < 0 ? max_now() : MIN_OF(min, max_now());
}

/* One at a time, for the oldest request, in blocks, never above the maximum nor below the minimum; and the
 * monitor cannot have the guest's last memory unplugged. */
static void take_resize(const struct channel_message *m)
{
    const struct asked *a = &w.asked[oldest()];
    uint64_t base = MAX_OF(w.size, w.requested);

    FUZZ_CHECK(w.up && oldest() < REQUESTS_MAX);
    FUZZ_CHECK(!w.waiting && m->id == w.sent_id + 1);
    FUZZ_CHECK(w.block > 0);
    FUZZ_CHECK(a->verb == LIMITS_UNPLUG || (m->size > base && m->size <= max_now()));
    FUZZ_CHECK(a->verb == LIMITS_PLUG || (m->size < w.requested && m->size >= min_now()));
    if (a->bytes != ANY && a->verb == LIMITS_PLUG)
        FUZZ_CHECK(m->size - base >= a->bytes && m->size - base - a->bytes < w.block);
    if (a->verb == LIMITS_PLUG)
        FUZZ_CHECK((m->size - base) % w.block == 0);
    else
        FUZZ_CHECK(w.requested - m->size <= a->bytes && (w.requested - m->size) % w.block == 0);
    if (a->verb == LIMITS_UNPLUG && a->origin == ACTUATOR_MONITOR && m->size < w.size)
        FUZZ_CHECK(w.size - m->size + LIMITS_LEAVE <= AVAILABLE);
    w.sent_id = m->id;
    w.waiting = true;
}

/* What the actuator said. */
static void take_line(const char *line, size_t len)
{
    struct channel_message m;

    if (len == 0)
        return;
    FUZZ_CHECK(channel_decode(line, len, &m) == 0);
    if (m.op == CHANNEL_RESIZE)
        take_resize(&m);
    else if (m.op == CHANNEL_DECLINED) {
        FUZZ_CHECK(w.declining && m.id == w.shrink_id && m.id > 0);
        w.declining = false;
    } else if (m.op == CHANNEL_HELLO) {
        /* All begins anew. */
        w.greeted = true;
        w.waiting = false;
    } else
        FUZZ_CHECK(m.op == CHANNEL_STATS || m.op == CHANNEL_PONG || m.op == CHANNEL_ERROR);
}

static void hear(void)
{
    char bytes[4096];
    ssize_t n;

    while ((n = recv(w.peer, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
        size_t size = (size_t)n, len;
        const char *at = bytes, *line;
        int r;

        while ((r = lines_next(&w.lines, &at, &size, &line, &len)) != 0) {
            FUZZ_CHECK(r > 0);
            take_line(line, len);
        }
    }
}

/* Until nothing more happens by itself. */
static void settle(void)
{
    for (unsigned turns = 0; sd_event_run(w.event, 0) > 0; turns++)
        FUZZ_CHECK(turns < TURNS_MAX);
    if (!w.up)
        w.waiting = false;
    hear();
}

/* What it means, as channel.h and DESIGN have it; false: it means nothing now. */
static bool follow(const struct channel_message *m)
{
    if (m->op == CHANNEL_WELCOME && m->version == CHANNEL_VERSION) {
        w.block = m->block_size;
        w.host_min = m->min_size;
        w.host_max = m->max_size;
        w.size = m->size;
        w.requested = m->requested_size;
    } else if (!w.up)
        return false;
    else if (m->op == CHANNEL_GRANTED)
        w.requested = m->requested_size;
    else if (m->op == CHANNEL_SIZE) {
        w.size = m->size;
        w.requested = m->requested_size;
    } else if (m->op == CHANNEL_LIMITS) {
        w.host_min = m->min_size;
        w.host_max = m->max_size;
    } else if (m->op == CHANNEL_SHRINK) {
        w.shrink_id = m->id;
        w.shrink_size = m->size;
    } else if (m->op == CHANNEL_ROOM)
        w.room = true;
    return true;
}

static bool send_line(const char *line, size_t len)
{
    struct iovec parts[] = { { (char *)line, len }, { (char *)"\n", 1 } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };

    return sendmsg(w.peer, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len + 1;
}

static void say(const char *line, size_t len)
{
    struct channel_message m;
    unsigned head = oldest(), done = w.done;
    bool known = len > 0 && channel_decode(line, len, &m) == 0 && follow(&m), ends;

    w.line = known ? &m : NULL;
    ends = known && w.waiting && (m.op == CHANNEL_GRANTED || m.op == CHANNEL_REFUSED) && m.id == w.sent_id;
    w.answer = ends && m.op == CHANNEL_GRANTED;
    if (ends)
        w.waiting = false;
    /* One that has cut us off does not read. */
    FUZZ_CHECK(send_line(line, len) || !w.up);
    settle();
    /* An answer is one request's, and nothing else is an answer. */
    FUZZ_CHECK(!w.answer);
    if (ends)
        FUZZ_CHECK(w.asked[head].done);
    else if (w.up)
        FUZZ_CHECK(w.done == done);
    w.line = NULL;
}

static void request(enum limits_verb verb, enum actuator_origin origin, uint64_t bytes)
{
    struct asked *a = &w.asked[w.n];

    if (w.n == REQUESTS_MAX)
        return;
    *a = (struct asked){ .verb = verb, .origin = origin, .bytes = bytes };
    w.n++;
    w.submitting = true;
    if (origin == ACTUATOR_RESERVATION) {
        a->bytes = ANY;
        actuator_request_size(w.actuator, bytes, "room", on_done, a);
    } else
        actuator_request(w.actuator, verb, bytes, "why", origin, on_done, a);
    w.submitting = false;
}

static void set_limits(uint64_t min, uint64_t max)
{
    bool reset = min == LIMITS_KEEP && max == LIMITS_KEEP;
    char text[LIMITS_TEXT_MAX];
    const char *error;
    uint64_t old_min = w.own_min, old_max = w.own_max;

    /* The view follows inside of the call. */
    w.own_min = reset ? 0 : min == LIMITS_KEEP ? old_min : min;
    w.own_max = reset ? OWN_MAX : max == LIMITS_KEEP ? old_max : max == 0 ? UINT64_MAX : max;
    if (actuator_set_limits(w.actuator, min, max, false, &error, text) >= 0) {
        FUZZ_CHECK(w.own_min <= w.own_max);
        return;
    }
    check_text(text, sizeof(text));
    w.own_min = old_min;
    w.own_max = old_max;
}

/* A number of bytes or, with an M, of MiB; "k" is as it is. */
static uint64_t take_number(const char **text)
{
    uint64_t value;
    char *end;

    while (**text == ' ')
        (*text)++;
    if (**text == 'k') {
        (*text)++;
        return LIMITS_KEEP;
    }
    value = g_ascii_strtoull(*text, &end, 10);
    if (*end == 'M') {
        value = MIN_OF(value, UINT64_MAX >> 20) << 20;
        end++;
    }
    *text = end;
    return value;
}

/* False: it is the host's to say. */
static bool act(const char *line)
{
    const char *rest = line + 1;
    uint64_t first, second;

    if (*line == '\0' || !strchr("+-PURLDS", *line))
        return false;
    first = take_number(&rest);
    second = take_number(&rest);
    switch (*line) {
    case '+':
        request(LIMITS_PLUG, ACTUATOR_MONITOR, first);
        break;
    case '-':
        request(LIMITS_UNPLUG, ACTUATOR_MONITOR, first);
        break;
    case 'P':
        request(LIMITS_PLUG, ACTUATOR_MANUAL, first);
        break;
    case 'U':
        request(LIMITS_UNPLUG, ACTUATOR_MANUAL, first);
        break;
    case 'R':
        request(LIMITS_PLUG, ACTUATOR_RESERVATION, first);
        break;
    case 'L':
        set_limits(first, second);
        break;
    case 'D':
        w.declining = true;
        FUZZ_CHECK(actuator_decline_shrink(w.actuator, first, CHANNEL_CODE_BUSY) < 0 || first == w.shrink_id);
        break;
    default:
        (void)actuator_report(w.actuator, first, second, 0, CHANNEL_LEVEL_NORMAL);
    }
    settle();
    w.declining = false;
    return true;
}

static int listen_at(const char *path)
{
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    fuzz_make_file("devices/system/memory/block_size_bytes", "8000000\n");
    fuzz_make_file("devices/system/memory/auto_online_blocks", "offline\n");
    fuzz_make_file("module/memory_hotplug/parameters/online_policy", "contig-zones\n");
    fuzz_make_file("bus/virtio/drivers/virtio_mem/virtio3/status", "0xf\n");
    fuzz_make_file("sys/kernel/random/boot_id", "11111111-2222-3333-4444-555555555555\n");
    fuzz_make_file("meminfo",
            "MemTotal: 2097152 kB\nMemFree: 819200 kB\nMemAvailable: 819200 kB\nBuffers: 0 kB\n"
            "Cached: 1000 kB\nActive(file): 500 kB\nInactive(file): 500 kB\nSwapTotal: 0 kB\n"
            "SwapFree: 0 kB\nShmem: 0 kB\nSReclaimable: 0 kB\n");
    FUZZ_CHECK(fd >= 0 && unix_address(path, &address) >= 0);
    FUZZ_CHECK(bind(fd, (struct sockaddr *)&address, sizeof(address)) >= 0 && listen(fd, 1) >= 0);
    return fd;
}

/* A new actuator, which has said hello and was welcomed. */
static void start(void)
{
    static struct actuator_config config = {
        .max_size = OWN_MAX,
        .request_rate = 1000,
        .request_burst = 1000,
        .request_timeout_usec = 60 * USEC_PER_SEC,
        .onlining = HOTPLUG_AUTO,
        .guard_exclude = (char *)"",
    };
    static char *port, *folder, *nothing;
    static int listener = -1;

    if (listener < 0) {
        port = fuzz_in_folder("port");
        folder = fuzz_in_folder(".");
        nothing = fuzz_in_folder("nothing");
        listener = listen_at(port);
        log_set_max_level(LOG_EMERG);
    }
    memset(&w, 0, sizeof(w));
    w.own_max = OWN_MAX;
    lines_init(&w.lines, w.buffer, sizeof(w.buffer));
    FUZZ_CHECK(sd_event_new(&w.event) >= 0);
    FUZZ_CHECK(actuator_new(w.event,
                       &(struct actuator_options){ .config = &config,
                               .port = port,
                               .sysfs = folder,
                               .procfs = folder,
                               .cgroup = folder,
                               .guard_saved = nothing,
                               .kernel_saved = nothing,
                               .limits_saved = nothing },
                       &w.actuator) >= 0);
    actuator_set_ops(w.actuator, &ops, NULL);
    for (unsigned turns = 0; (w.peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0; turns++)
        FUZZ_CHECK(turns < TURNS_MAX && sd_event_run(w.event, 10 * USEC_PER_SEC) >= 0);
    settle();
    FUZZ_CHECK(w.greeted);
    say(welcome, strlen(welcome) - 1);
    FUZZ_CHECK(w.up);
}

/* Whoever asked has an answer by now. */
static void stop(void)
{
    actuator_give_up(w.actuator, "it is being stopped");
    FUZZ_CHECK(w.done == w.n);
    actuator_set_ops(w.actuator, NULL, NULL);
    w.actuator = actuator_free(w.actuator);
    close(w.peer);
    sd_event_unref(w.event);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = fuzz_text(data, size);
    const char *line = text, *end = text + size;

    start();
    for (unsigned i = 0; line < end && i < STEPS_MAX; i++) {
        const char *stop_at = memchr(line, '\n', (size_t)(end - line)) ?: end;
        g_autofree char *one = g_strndup(line, (size_t)(stop_at - line));

        if (!act(one))
            say(line, (size_t)(stop_at - line));
        line = stop_at + 1;
    }
    stop();
    return 0;
}
