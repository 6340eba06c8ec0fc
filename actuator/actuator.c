/* SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "actuator-internal.h"
#include "hello.h"
#include "names.h"
#include "service.h"

/* The monitor reports on a level change, else every 10 s. */
#define REPORT_RATE 5u
#define REPORT_BURST 20u
/* A refusal is always answered; it is also signalled to everybody, but not more often than this. */
#define REFUSED_RATE 10u
#define REFUSED_BURST 20u

void actuator_set_timer(sd_event_source *timer, uint64_t at)
{
    if (at != USEC_FOREVER)
        (void)sd_event_source_set_time(timer, at);
    (void)sd_event_source_set_enabled(timer, at == USEC_FOREVER ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

void actuator_publish(struct actuator *a)
{
    struct actuator_view *v = &a->view;
    const struct limits *l = &a->limits;
    bool met = l->block_size > 0; /* a host has said its numbers, and they are the last ones known */

    v->size = l->size;
    v->requested_size = l->requested_size;
    v->min_size = met ? limits_effective_min(l) : l->min_size;
    v->max_size = met ? limits_effective_max(l) : l->max_size;
    v->host_min_size = l->host_min_size;
    v->host_max_size = met ? l->host_max_size : 0;
    v->block_size = l->block_size;
    v->host_connected = l->host;
    /* Pads with NULs: views are compared byte by byte. */
    (void)strncpy(v->state, progress_state_to_string(progress_state(&a->progress, l, now_usec())),
            sizeof(v->state) - 1);
    if (a->guard)
        guard_control_update(a->guard, l);
    if (a->kernel)
        kernel_settings_update(a->kernel, l, a->guard && guard_control_may_hold(a->guard));
    if (a->ops)
        a->ops->changed(v, a->ops_userdata);
}

/* Says what is due, and comes back when more will be. */
static void follow(struct actuator *a)
{
    uint64_t now = now_usec(), old;

    if (progress_signal(&a->progress, &a->limits, now, &old) && a->ops)
        a->ops->size_changed(old, a->limits.size, a->reason, a->ops_userdata);
    actuator_publish(a);
    actuator_set_timer(a->progress_timer, progress_deadline(&a->progress, &a->limits, now));
}

static int on_progress_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    follow(userdata);
    return 0;
}

static void take_sizes(struct actuator *a, uint64_t size, uint64_t requested_size)
{
    progress_take(&a->progress, &a->limits, size, requested_size, now_usec());
    follow(a);
}

void actuator_keep_onlining(struct actuator *a, bool look_again)
{
    uint64_t host = a->limits.block_size > 0 ? a->limits.host_max_size : UINT64_MAX;

    onlining_keep(&a->onlining, MIN_OF(a->limits.max_size, host), look_again);
}

void actuator_look_for_device(struct actuator *a)
{
    if (a->limits.device || hotplug_count_devices(a->sysfs) <= 0)
        return;
    a->limits.device = true;
    log_info("virtio-mem is there");
    actuator_keep_onlining(a, true);
    actuator_publish(a);
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
    guard_control_alive(a->guard);
    actuator_look_for_device(a);
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

/* Memory will not come now, however long a surge waits for it. */
static bool is_final(enum channel_code code)
{
    return code != CHANNEL_CODE_RATE && code != CHANNEL_CODE_BUSY;
}

static void on_guard_changed(uint64_t headroom, bool held, void *userdata)
{
    struct actuator *a = userdata;

    a->view.guard_headroom = headroom;
    a->view.guard_held = held;
    actuator_publish(a);
}

int actuator_arm_guard(struct actuator *a, uint64_t headroom, const char *caller, uint64_t *ret_total)
{
    return guard_control_arm(a->guard, headroom, caller, ret_total);
}

void actuator_caller_gone(struct actuator *a, const char *prefix)
{
    guard_control_caller_gone(a->guard, prefix);
}

static void take_granted(struct actuator *a, const struct channel_message *m)
{
    uint64_t size = a->limits.size;
    struct request r;

    /* Too late for its caller it is true all the same: who grants is no host at which nothing comes. */
    guard_control_refused(a->guard, false);
    actuator_kernel_block_answered(a, true);
    if (!actuator_answered(a, m->id, &r)) {
        log_debug("host: answer to request %" PRIu64 ", which does not wait any more", m->id);
        take_sizes(a, size, m->requested_size);
        actuator_send_next(a);
        return;
    }
    (void)snprintf(a->reason, sizeof(a->reason), "%s", r.reason);
    r.done(m->requested_size, NULL, NULL, r.userdata);
    actuator_manual_granted(a, &r, m->requested_size);
    take_sizes(a, size, m->requested_size);
    actuator_send_next(a);
    log_info("%s %s (%s): granted, requested size %s, size %s", limits_verb_to_string(r.verb),
            FORMAT_BYTES(r.bytes), r.reason, FORMAT_BYTES(m->requested_size), FORMAT_BYTES(size));
}

static void take_refused(struct actuator *a, const struct channel_message *m)
{
    struct request r;

    actuator_kernel_block_answered(a, false);
    if (!actuator_answered(a, m->id, &r)) {
        actuator_send_next(a);
        return;
    }
    if (r.verb == LIMITS_PLUG && r.origin == ACTUATOR_MONITOR && is_final(m->code))
        guard_control_refused(a->guard, true);
    actuator_refuse(a, &r, error_of_code(m->code), m->text);
    actuator_send_next(a);
}

static void take_size(struct actuator *a, const struct channel_message *m)
{
    /* Nobody here asked for it. */
    if (!a->sent && !a->late && m->requested_size != a->limits.requested_size)
        (void)snprintf(a->reason, sizeof(a->reason), "host");
    actuator_look_for_device(a);
    /* What comes must not wait offline, whoever asked for it and whatever the policy was set to since. */
    if (m->size > a->limits.size)
        actuator_keep_onlining(a, false);
    take_sizes(a, m->size, m->requested_size);
}

static void take_limits(struct actuator *a, const struct channel_message *m)
{
    a->limits.host_min_size = m->min_size;
    a->limits.host_max_size = m->max_size;
    actuator_keep_onlining(a, false);
    actuator_publish(a);
}

static void arm_news(struct actuator *a)
{
    actuator_set_timer(a->news_timer, MIN_OF(news_deadline(&a->shrink_news), news_deadline(&a->room_news)));
}

static void tell_shrink(struct actuator *a, uint32_t more)
{
    char count[48] = "";

    if (more > 0)
        (void)snprintf(count, sizeof(count), "; asked %" PRIu32 " times more since then", more);
    log_info("host: asks to shrink to %s (%s); size %s, requested size %s%s", FORMAT_BYTES(a->shrink_size),
            a->shrink_reason, FORMAT_BYTES(a->limits.size), FORMAT_BYTES(a->limits.requested_size), count);
    if (a->ops)
        a->ops->shrink_requested(a->shrink_id, a->shrink_size, a->shrink_reason, a->ops_userdata);
}

static void take_shrink(struct actuator *a, const struct channel_message *m)
{
    a->shrink_id = m->id;
    a->shrink_size = m->size;
    (void)snprintf(a->shrink_reason, sizeof(a->shrink_reason), "%s", m->reason);
    if (news_take(&a->shrink_news, now_usec()))
        tell_shrink(a, 0);
    arm_news(a);
}

static void tell_room(struct actuator *a)
{
    if (a->ops)
        a->ops->room(a->ops_userdata);
}

static void take_room(struct actuator *a)
{
    guard_control_refused(a->guard, false);
    actuator_publish(a);
    if (news_take(&a->room_news, now_usec()))
        tell_room(a);
    arm_news(a);
}

static int on_news_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct actuator *a = userdata;
    uint64_t now = now_usec();
    uint32_t more;

    if (news_due(&a->shrink_news, now, &more))
        tell_shrink(a, more);
    if (news_due(&a->room_news, now, &more)) {
        log_debug("host: has room; said %" PRIu32 " times more since the last time", more);
        tell_room(a);
    }
    arm_news(a);
    return 0;
}

static void on_message(const struct channel_message *m, void *userdata)
{
    struct actuator *a = userdata;

    if (m->op == CHANNEL_GRANTED)
        take_granted(a, m);
    else if (m->op == CHANNEL_REFUSED)
        take_refused(a, m);
    else if (m->op == CHANNEL_SIZE)
        take_size(a, m);
    else if (m->op == CHANNEL_LIMITS)
        take_limits(a, m);
    else if (m->op == CHANNEL_SHRINK)
        take_shrink(a, m);
    else if (m->op == CHANNEL_ROOM)
        take_room(a);
}

/* Both sides start from the host's numbers. */
static void on_up(const struct channel_message *m, void *userdata)
{
    struct actuator *a = userdata;
    bool first = !a->limits.host;

    guard_control_refused(a->guard, false);
    a->limits.host = true;
    a->limits.device = hotplug_count_devices(a->sysfs) > 0;
    a->limits.block_size = m->block_size;
    a->limits.host_min_size = m->min_size;
    a->limits.host_max_size = m->max_size;
    if (first) {
        (void)snprintf(a->reason, sizeof(a->reason), "connected");
        a->progress.moved_at = now_usec();
        log_info("size %s, requested %s, host's limits %s to %s, block size %s", FORMAT_BYTES(m->size),
                FORMAT_BYTES(m->requested_size), FORMAT_BYTES(m->min_size), FORMAT_BYTES(m->max_size),
                FORMAT_BYTES(m->block_size));
    }
    take_sizes(a, m->size, m->requested_size);
    actuator_keep_onlining(a, first);
}

static void on_down(void *userdata)
{
    struct actuator *a = userdata;

    a->limits.host = false;
    a->shrink_id = 0;
    news_drop(&a->shrink_news);
    news_drop(&a->room_news);
    arm_news(a);
    actuator_kernel_block_answered(a, false);
    actuator_give_up(a, "the host has gone; the guest keeps the memory it has");
    follow(a);
}

static const struct host_link_ops link_ops = {
    .up = on_up,
    .down = on_down,
    .message = on_message,
};

static void configure_workers(struct actuator *a, const struct actuator_config *c)
{
    if (a->guard)
        guard_control_configure(a->guard, c->guard, c->guard_exclude);
    if (a->kernel)
        kernel_settings_configure(a->kernel, c->overcommit == OVERCOMMIT_FOLLOW, c->kernel_reserve);
}

void actuator_configure(struct actuator *a, const struct actuator_config *c)
{
    bool rate_changed =
            a->config.request_rate != c->request_rate || a->config.request_burst != c->request_burst;
    bool limits_changed = a->config.min_size != c->min_size || a->config.max_size != c->max_size;

    a->config = *c;
    a->config.port = NULL;
    a->config.guard_exclude = NULL;
    a->config.guard_slices = NULL;
    if (c->guard_slices)
        log_warning(
                "GuardSlices= is ignored: every top-level cgroup has a line; GuardExclude= names the ones "
                "that must have none");
    if (!a->limits_set) {
        a->limits.min_size = c->min_size;
        a->limits.max_size = c->max_size;
    } else if (limits_changed)
        actuator_say_limits(a, "those set by SetLimits");
    a->onlining.wanted = c->onlining;
    if (rate_changed)
        bucket_init(&a->bucket, c->request_rate, c->request_burst, now_usec());
    bucket_init(&a->reserve_bucket, c->request_rate, c->request_burst, now_usec());
    configure_workers(a, c);
    if (a->link) {
        actuator_keep_onlining(a, true);
        actuator_publish(a);
    }
}

/* The guard and the kernel settings; each first restores what a killed actuator has left. */
static int start_workers(struct actuator *a, const struct actuator_options *o)
{
    const struct guard_control_options guard_options = {
        .cgroup = o->cgroup,
        .procfs = o->procfs,
        .saved = o->guard_saved,
    };
    const struct kernel_settings_options kernel_options = {
        .procfs = o->procfs,
        .saved = o->kernel_saved,
        .boot_size = a->view.boot_size,
    };
    int r = guard_control_new(a->event, &guard_options, on_guard_changed, a, &a->guard);

    if (r >= 0)
        r = kernel_settings_new(a->event, &kernel_options, &a->kernel);
    if (r >= 0)
        configure_workers(a, o->config);
    return r;
}

static int start_timers(struct actuator *a)
{
    int r = sd_event_add_time(
            a->event, &a->timeout, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, actuator_on_timeout, a);

    if (r >= 0)
        r = sd_event_add_time(
                a->event, &a->progress_timer, CLOCK_MONOTONIC, 0, 10 * USEC_PER_MSEC, on_progress_timer, a);
    if (r >= 0)
        r = sd_event_add_time(
                a->event, &a->news_timer, CLOCK_MONOTONIC, 0, 10 * USEC_PER_MSEC, on_news_timer, a);
    return r < 0 ? r : actuator_kernel_block_start(a);
}

static int actuator_start(struct actuator *a, const struct actuator_options *o)
{
    struct channel_message hello;
    int r = hello_read(o->sysfs, o->procfs, &hello);

    if (r < 0)
        return r;
    a->view.boot_size = a->onlining.boot_size = hello.boot_size;
    a->view.memory_block_size = hello.memory_block_size;
    a->limits.device = hotplug_count_devices(a->sysfs) > 0;
    log_info("boot memory %s, memory blocks of %s, %s", FORMAT_BYTES(hello.boot_size),
            FORMAT_BYTES(hello.memory_block_size),
            a->limits.device ? "virtio-mem is there" : "no virtio-mem device yet");
    actuator_keep_onlining(a, true);
    r = start_workers(a, o);
    if (r >= 0)
        r = start_timers(a);
    if (r >= 0)
        r = actuator_admin_start(a, o->limits_saved);
    if (r >= 0)
        r = host_link_new(a->event, o->port ?: o->config->port, a->sysfs, &hello, &link_ops, a, &a->link);
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
    a->onlining.sysfs = a->sysfs;
    if (asprintf(&a->meminfo, "%s/meminfo", o->procfs) < 0)
        a->meminfo = NULL;
    bucket_init(&a->report_bucket, REPORT_RATE, REPORT_BURST, now_usec());
    bucket_init(&a->refused_bucket, REFUSED_RATE, REFUSED_BURST, now_usec());
    actuator_configure(a, o->config);
    r = a->sysfs && a->meminfo ? actuator_start(a, o) : -ENOMEM;
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
    guard_control_free(a->guard);
    actuator_kernel_block_stop(a);
    kernel_settings_free(a->kernel);
    host_link_free(a->link);
    actuator_admin_stop(a);
    sd_event_source_disable_unref(a->timeout);
    sd_event_source_disable_unref(a->progress_timer);
    sd_event_source_disable_unref(a->news_timer);
    sd_event_unref(a->event);
    free(a->meminfo);
    free(a->sysfs);
    free(a);
    return NULL;
}

void actuator_set_ops(struct actuator *a, const struct actuator_ops *ops, void *userdata)
{
    a->ops = ops;
    a->ops_userdata = userdata;
    if (ops)
        actuator_publish(a);
}
