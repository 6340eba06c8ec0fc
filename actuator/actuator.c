/* SPDX-License-Identifier: MIT */
#include "actuator.h"

#include <inttypes.h>

#include "host-link.h"
#include "log.h"
#include "names.h"
#include "procfile.h"
#include "ratelimit.h"
#include "service.h"

/* SizeChanged is said ten times a second at most, the last one always. */
#define SIGNAL_USEC (100 * USEC_PER_MSEC)
/* The host asks again after 5 s without progress; after twice that it is stuck. */
#define STUCK_USEC (10 * USEC_PER_SEC)
#define REPORT_RATE 5u
#define REPORT_BURST 20u

struct request {
    enum limits_verb verb;
    uint64_t bytes;
    char reason[ACTUATOR_REASON_MAX + 1];
    actuator_done_t done;
    void *userdata;
    uint64_t deadline;
};

struct actuator {
    sd_event *event;
    sd_event_source *timeout;
    sd_event_source *signal_timer;
    struct host_link *link;
    struct actuator_config config; /* a copy of the numbers; its strings are not ours */
    char *sysfs;
    char *procfs;
    struct actuator_view view;
    struct limits limits;

    struct request queue[ACTUATOR_QUEUE_MAX]; /* the first one is with the host when sent */
    unsigned queued;
    bool sent;
    uint64_t sent_id;
    struct bucket bucket;
    struct bucket report_bucket;

    uint64_t shrink_id; /* what the host asked for last; 0: nothing */
    uint64_t signalled_size;
    uint64_t signalled_at;
    uint64_t progress_at;
    char reason[ACTUATOR_REASON_MAX + 1]; /* of the last grant */

    struct log_repeat onlining_fault;
    const struct actuator_ops *ops;
    void *ops_userdata;
};

static void send_next(struct actuator *a);

const struct actuator_view *actuator_view(const struct actuator *a)
{
    return &a->view;
}

static const char *state_of(const struct actuator *a, uint64_t now)
{
    const struct limits *l = &a->limits;
    bool stuck = now > a->progress_at + STUCK_USEC;

    if (!l->device)
        return "no-device";
    if (!l->host)
        return "disconnected";
    if (l->requested_size > l->size)
        return stuck ? "stuck" : "plugging";
    if (l->requested_size < l->size)
        return stuck ? "stuck" : "unplugging";
    return "idle";
}

static void publish(struct actuator *a)
{
    struct actuator_view *v = &a->view;
    const struct limits *l = &a->limits;

    v->size = l->size;
    v->requested_size = l->requested_size;
    v->min_size = l->host ? limits_effective_min(l) : l->min_size;
    v->max_size = l->host ? limits_effective_max(l) : l->max_size;
    v->host_min_size = l->host_min_size;
    v->host_max_size = l->host_max_size;
    v->block_size = l->block_size;
    v->host_connected = l->host;
    (void)snprintf(v->state, sizeof(v->state), "%s", state_of(a, now_usec()));
    if (a->ops)
        a->ops->changed(v, a->ops_userdata);
}

static void signal_size(struct actuator *a, uint64_t now)
{
    uint64_t old = a->signalled_size;

    if (old == a->limits.size)
        return;
    a->signalled_size = a->limits.size;
    a->signalled_at = now;
    if (a->ops)
        a->ops->size_changed(old, a->limits.size, a->reason, a->ops_userdata);
}

static int on_signal_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct actuator *a = userdata;

    signal_size(a, now_usec());
    publish(a);
    return 0;
}

static void timer_in(sd_event_source *timer, uint64_t usec)
{
    (void)sd_event_source_set_time_relative(timer, usec);
    (void)sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

/* A change that stops coming has to show as stuck, so it is looked at again. */
static void watch_change(struct actuator *a)
{
    if (a->limits.host && a->limits.size != a->limits.requested_size)
        timer_in(a->signal_timer, STUCK_USEC + SIGNAL_USEC);
}

static void take_sizes(struct actuator *a, uint64_t size, uint64_t requested_size)
{
    uint64_t now = now_usec();

    if (size != a->limits.size || requested_size != a->limits.requested_size)
        a->progress_at = now;
    a->limits.size = size;
    a->limits.requested_size = requested_size;
    if (size == a->signalled_size)
        watch_change(a);
    else if (now >= a->signalled_at + SIGNAL_USEC || now < a->signalled_at) {
        signal_size(a, now);
        watch_change(a);
    } else
        timer_in(a->signal_timer, a->signalled_at + SIGNAL_USEC - now);
    publish(a);
}

/* Sets the policy and brings waiting blocks online; before the host's max size is known the safe one for any
 * size. */
static void keep_onlining(struct actuator *a)
{
    uint64_t max = MIN_OF(a->limits.max_size, a->limits.host ? a->limits.host_max_size : UINT64_MAX);
    enum hotplug_onlining policy = hotplug_choose(a->config.onlining, a->view.boot_size, max);
    unsigned failed = 0;
    int r = hotplug_set_policy(a->sysfs, policy), online;

    if (r < 0) {
        log_repeated(&a->onlining_fault, now_usec(), LOG_ERR,
                "onlining policy %s cannot be set: %s; plugged memory may stay offline",
                hotplug_onlining_to_string(policy), strerror(-r));
        return;
    }
    if (r > 0)
        log_info("onlining policy set to %s (boot memory %s, max size %s)",
                hotplug_onlining_to_string(policy), FORMAT_BYTES(a->view.boot_size),
                max == UINT64_MAX ? "not known yet" : FORMAT_BYTES(max));
    online = hotplug_online_waiting(a->sysfs, policy, &failed);
    if (online > 0 || failed > 0)
        log_line(failed > 0 ? LOG_WARNING : LOG_INFO,
                "%d memory blocks waited offline and were brought online, %u would not", MAX_OF(online, 0),
                failed);
}

static void queue_drop_first(struct actuator *a)
{
    a->queued--;
    a->sent = false;
    memmove(&a->queue[0], &a->queue[1], a->queued * sizeof(a->queue[0]));
}

static void refuse(struct actuator *a, const struct request *r, const char *error, const char *text)
{
    log_info("%s %s (%s) refused: %s: %s", limits_verb_to_string(r->verb), FORMAT_BYTES(r->bytes), r->reason,
            error, text);
    (void)snprintf(a->view.last_error, sizeof(a->view.last_error), "%s", text);
    r->done(0, error, text, r->userdata);
    if (a->ops)
        a->ops->refused(limits_verb_to_string(r->verb), r->bytes, error, text, a->ops_userdata);
    publish(a);
}

static void refuse_first(struct actuator *a, const char *error, const char *text)
{
    struct request r = a->queue[0];

    queue_drop_first(a);
    refuse(a, &r, error, text);
}

static void arm_timeout(struct actuator *a)
{
    if (a->queued == 0)
        (void)sd_event_source_set_enabled(a->timeout, SD_EVENT_OFF);
    else
        timer_in(a->timeout, sub_floor(a->queue[0].deadline, now_usec()));
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct actuator *a = userdata;
    char text[LIMITS_TEXT_MAX];

    (void)snprintf(text, sizeof(text), "the host did not answer in %" PRIu64 " ms",
            a->config.request_timeout_usec / USEC_PER_MSEC);
    /* Deadlines are in the queue's order. */
    while (a->queued > 0 && a->queue[0].deadline <= now_usec())
        refuse_first(a, ERROR_HOST_UNAVAILABLE, text);
    send_next(a);
    return 0;
}

static int send_resize(struct actuator *a, const struct request *r, uint64_t target)
{
    struct channel_message m = { .op = CHANNEL_RESIZE, .id = a->sent_id + 1, .size = target };

    (void)snprintf(m.reason, sizeof(m.reason), "%s", r->reason);
    return host_link_send(a->link, &m);
}

/* Sends the first of the queue when none is with the host. Limits are looked at now: what was granted before
 * counts. */
static void send_next(struct actuator *a)
{
    while (a->queued > 0 && !a->sent) {
        struct request *r = &a->queue[0];
        char text[LIMITS_TEXT_MAX];
        const char *error;
        uint64_t target;
        int e;

        if (limits_target(&a->limits, r->verb, r->bytes, &target, &error, text) < 0) {
            refuse_first(a, error, text);
            continue;
        }
        if (r->verb == LIMITS_PLUG)
            keep_onlining(a);
        e = send_resize(a, r, target);
        if (e < 0) {
            (void)snprintf(text, sizeof(text), "the host cannot be reached: %s", strerror(-e));
            refuse_first(a, ERROR_HOST_UNAVAILABLE, text);
            continue;
        }
        a->sent_id++;
        a->sent = true;
    }
    arm_timeout(a);
}

static void refuse_new(struct actuator *a, const struct request *r, const char *error, const char *format,
        uint64_t number) __attribute__((format(printf, 4, 0)));
static void refuse_new(
        struct actuator *a, const struct request *r, const char *error, const char *format, uint64_t number)
{
    char text[LIMITS_TEXT_MAX];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(text, sizeof(text), format, number);
#pragma GCC diagnostic pop
    refuse(a, r, error, text);
}

void actuator_request(struct actuator *a, enum limits_verb verb, uint64_t bytes, const char *reason,
        actuator_done_t done, void *userdata)
{
    uint64_t now = now_usec();
    struct request r = {
        .verb = verb,
        .bytes = bytes,
        .done = done,
        .userdata = userdata,
        .deadline = now + a->config.request_timeout_usec,
    };

    (void)snprintf(r.reason, sizeof(r.reason), "%s", reason);
    if (!bucket_take(&a->bucket, now)) {
        refuse_new(a, &r, ERROR_RATE_LIMITED,
                "more than the rate of %" PRIu64 " requests a second allows; try again in a moment",
                a->config.request_rate);
        return;
    }
    if (a->queued >= ACTUATOR_QUEUE_MAX) {
        refuse_new(a, &r, ERROR_BUSY,
                "%" PRIu64 " requests are waiting already; try again when they are answered", a->queued);
        return;
    }
    a->queue[a->queued++] = r;
    send_next(a);
}

int actuator_report(
        struct actuator *a, uint64_t available, uint64_t total, uint32_t some10, enum channel_level level)
{
    struct channel_message m = {
        .op = CHANNEL_STATS,
        .available = available,
        .total = total,
        .some10 = some10,
        .level = level,
    };

    if (!bucket_take(&a->report_bucket, now_usec()))
        return -EBUSY;
    return host_link_send(a->link, &m);
}

int actuator_decline_shrink(struct actuator *a, uint64_t id, enum channel_code code)
{
    struct channel_message m = { .op = CHANNEL_DECLINED, .id = id, .code = code };

    if (id == 0 || id != a->shrink_id)
        return -ENOENT;
    a->shrink_id = 0;
    return host_link_send(a->link, &m);
}

static const char *error_of_code(enum channel_code code)
{
    switch (code) {
    case CHANNEL_CODE_LIMIT:
        return ERROR_LIMIT_EXCEEDED;
    case CHANNEL_CODE_RATE:
        return ERROR_RATE_LIMITED;
    case CHANNEL_CODE_BUSY:
        return ERROR_BUSY;
    case CHANNEL_CODE_INVALID:
        return ERROR_INVALID_SIZE;
    case CHANNEL_CODE_HOST_MEMORY:
    case CHANNEL_CODE_DEVICE:
    case CHANNEL_CODE_IN_USE:
    case CHANNEL_CODE_PAUSED:
    case _CHANNEL_CODE_MAX:
    case _CHANNEL_CODE_INVALID:
        break;
    }
    return ERROR_HOST_REFUSED;
}

static void take_granted(struct actuator *a, const struct channel_message *m)
{
    struct request r;

    if (!a->sent || m->id != a->sent_id) {
        log_debug("host: answer to request %" PRIu64 ", which does not wait any more", m->id);
        return;
    }
    r = a->queue[0];
    queue_drop_first(a);
    log_info("%s %s (%s): granted, requested size %s, size %s", limits_verb_to_string(r.verb),
            FORMAT_BYTES(r.bytes), r.reason, FORMAT_BYTES(m->requested_size), FORMAT_BYTES(a->limits.size));
    (void)snprintf(a->reason, sizeof(a->reason), "%s", r.reason);
    r.done(m->requested_size, NULL, NULL, r.userdata);
    take_sizes(a, a->limits.size, m->requested_size);
    send_next(a);
}

static void take_refused(struct actuator *a, const struct channel_message *m)
{
    if (!a->sent || m->id != a->sent_id)
        return;
    refuse_first(a, error_of_code(m->code), m->text);
    send_next(a);
}

static void on_message(const struct channel_message *m, void *userdata)
{
    struct actuator *a = userdata;

    if (m->op == CHANNEL_GRANTED)
        take_granted(a, m);
    else if (m->op == CHANNEL_REFUSED)
        take_refused(a, m);
    else if (m->op == CHANNEL_SIZE)
        take_sizes(a, m->size, m->requested_size);
    else if (m->op == CHANNEL_LIMITS) {
        a->limits.host_min_size = m->min_size;
        a->limits.host_max_size = m->max_size;
        keep_onlining(a);
        publish(a);
    } else if (m->op == CHANNEL_SHRINK) {
        a->shrink_id = m->id;
        if (a->ops)
            a->ops->shrink_requested(m->id, m->size, m->reason, a->ops_userdata);
    } else if (m->op == CHANNEL_ROOM && a->ops)
        a->ops->room(a->ops_userdata);
}

/* Both sides start from the host's numbers. */
static void on_up(const struct channel_message *m, void *userdata)
{
    struct actuator *a = userdata;
    bool first = !a->limits.host;

    a->limits.host = true;
    a->limits.device = hotplug_count_devices(a->sysfs) > 0;
    a->limits.block_size = m->block_size;
    a->limits.host_min_size = m->min_size;
    a->limits.host_max_size = m->max_size;
    if (first) {
        (void)snprintf(a->reason, sizeof(a->reason), "connected");
        a->progress_at = now_usec();
        log_info("size %s, requested %s, host's limits %s to %s, block size %s", FORMAT_BYTES(m->size),
                FORMAT_BYTES(m->requested_size), FORMAT_BYTES(m->min_size), FORMAT_BYTES(m->max_size),
                FORMAT_BYTES(m->block_size));
    }
    keep_onlining(a);
    take_sizes(a, m->size, m->requested_size);
}

static void on_down(void *userdata)
{
    struct actuator *a = userdata;

    a->limits.host = false;
    a->shrink_id = 0;
    while (a->queued > 0)
        refuse_first(a, ERROR_HOST_UNAVAILABLE, "the host has gone; the guest keeps the memory it has");
    arm_timeout(a);
    publish(a);
}

static const struct host_link_ops link_ops = {
    .up = on_up,
    .down = on_down,
    .message = on_message,
};

void actuator_configure(struct actuator *a, const struct actuator_config *c)
{
    bool rate_changed =
            a->config.request_rate != c->request_rate || a->config.request_burst != c->request_burst;

    a->config = *c;
    a->config.port = NULL;
    a->limits.min_size = c->min_size;
    a->limits.max_size = c->max_size;
    if (rate_changed)
        bucket_init(&a->bucket, c->request_rate, c->request_burst, now_usec());
    if (a->link)
        publish(a);
}

static int learn_machine(struct actuator *a, struct channel_message *ret_hello)
{
    struct channel_message m = { .op = CHANNEL_HELLO, .version = CHANNEL_VERSION };
    char path[512], boot_id[64];
    size_t len;
    int r = hotplug_boot_size(a->sysfs, a->procfs, &a->view.boot_size);

    if (r < 0) {
        log_error("the size of boot memory cannot be found: %s", strerror(-r));
        return r;
    }
    r = hotplug_memory_block_size(a->sysfs, &a->view.memory_block_size);
    if (r < 0) {
        log_error("this kernel has no memory hotplug (%s/devices/system/memory: %s)", a->sysfs, strerror(-r));
        return r;
    }
    (void)snprintf(path, sizeof(path), "%s/sys/kernel/random/boot_id", a->procfs);
    r = procfile_read(path, boot_id, sizeof(boot_id), &len);
    if (r < 0)
        return r;
    boot_id[strcspn(boot_id, "\n")] = '\0';
    (void)snprintf(m.boot_id, sizeof(m.boot_id), "%s", boot_id);
    (void)snprintf(m.agent, sizeof(m.agent), "vmtide-actuator " VMTIDE_VERSION);
    m.boot_size = a->view.boot_size;
    m.memory_block_size = a->view.memory_block_size;
    *ret_hello = m;
    return 0;
}

static int actuator_start(struct actuator *a, const struct actuator_options *o)
{
    struct channel_message hello;
    int r = learn_machine(a, &hello);

    if (r < 0)
        return r;
    a->limits.device = hotplug_count_devices(a->sysfs) > 0;
    log_info("boot memory %s, memory blocks of %s, %s", FORMAT_BYTES(a->view.boot_size),
            FORMAT_BYTES(a->view.memory_block_size),
            a->limits.device ? "virtio-mem is there" : "no virtio-mem device yet");
    keep_onlining(a);
    r = sd_event_add_time_relative(a->event, &a->timeout, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_timeout, a);
    if (r >= 0)
        r = sd_event_add_time_relative(
                a->event, &a->signal_timer, CLOCK_MONOTONIC, 0, 10 * USEC_PER_MSEC, on_signal_timer, a);
    if (r >= 0)
        r = host_link_new(a->event, o->port ?: o->config->port, &hello, &link_ops, a, &a->link);
    return r;
}

int actuator_new(sd_event *event, const struct actuator_options *o, struct actuator **ret)
{
    struct actuator *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return -ENOMEM;
    a->event = sd_event_ref(event);
    a->sysfs = strdup(o->sysfs);
    a->procfs = strdup(o->procfs);
    a->limits.host_max_size = UINT64_MAX;
    bucket_init(&a->report_bucket, REPORT_RATE, REPORT_BURST, now_usec());
    actuator_configure(a, o->config);
    r = a->sysfs && a->procfs ? actuator_start(a, o) : -ENOMEM;
    if (r < 0) {
        actuator_free(a);
        return r;
    }
    *ret = a;
    return 0;
}

struct actuator *actuator_free(struct actuator *a)
{
    if (!a)
        return NULL;
    a->ops = NULL;
    while (a->queued > 0)
        refuse_first(a, ERROR_HOST_UNAVAILABLE, "the actuator is being stopped");
    host_link_free(a->link);
    sd_event_source_disable_unref(a->timeout);
    sd_event_source_disable_unref(a->signal_timer);
    sd_event_unref(a->event);
    free(a->sysfs);
    free(a->procfs);
    free(a);
    return NULL;
}

void actuator_set_ops(struct actuator *a, const struct actuator_ops *ops, void *userdata)
{
    a->ops = ops;
    a->ops_userdata = userdata;
    if (ops)
        publish(a);
}
