/* SPDX-License-Identifier: MIT */
#include "monitor.h"

#include <inttypes.h>

#include "actuator-link.h"
#include "line-watch.h"
#include "log.h"
#include "low-memory.h"
#include "names.h"
#include "pause.h"
#include "record.h"
#include "rearm.h"
#include "sample.h"
#include "service.h"
#include "triggers.h"

#define REPORT_USEC (10 * USEC_PER_SEC)
#define HEADROOM_PUBLISH_USEC USEC_PER_SEC
#define STEP_PAUSE_FACTOR 3u
#define STEP_PAUSE_MAX_USEC (100 * USEC_PER_MSEC)
#define ROOT_CHECK_USEC USEC_PER_SEC
/* A task at a line crosses it every 10 ms, and at an administrator's own limit without end. After the first
 * crossing the samples show how fast memory is consumed. */
#define CROSSED_PAUSE_USEC (250 * USEC_PER_MSEC)

/* The accuracy of the sampling timer as a part of the wait, so that the kernel can coalesce wake-ups. */
#define ACCURACY_PART 20u

struct monitor {
    sd_event *event;
    sd_event_source *timer;
    struct actuator_link *link;
    struct sampler sampler;
    struct recorder *recorder;
    struct monitor_config config;
    struct decide_config decide_config;
    struct decide_state state;
    struct triggers triggers;
    struct line_watch *lines;
    uint64_t stepped; /* time of the last step */
    uint64_t crossed; /* time of the last crossing of a line */
    uint64_t root_checked;

    struct decide_sample sample;
    struct decision decision;
    enum decide_action asked; /* of the request under way */
    uint64_t shrink_id;       /* 0: the host requests no shrink */
    uint64_t shrink_to;
    uint64_t reported;
    bool reclaiming;
    struct rearm rearm;

    struct notes notes;
    struct log_repeat unknown_fault;
    struct log_repeat refused_fault;

    struct pause pause;
    uint64_t headroom_published; /* as last published on the bus */
    uint64_t headroom_published_at;
    struct low_memory low_memory;

    const struct monitor_ops *ops;
    void *ops_userdata;
};

static void monitor_step(struct monitor *m);

static void wake_in(struct monitor *m, uint64_t usec)
{
    (void)sd_event_source_set_time_relative(m->timer, usec);
    (void)sd_event_source_set_time_accuracy(m->timer, MAX_OF(usec / ACCURACY_PART, 1));
    (void)sd_event_source_set_enabled(m->timer, SD_EVENT_ONESHOT);
}

/* Steps in usec, or earlier when a step is already due before that. */
static void wake_by(struct monitor *m, uint64_t usec)
{
    uint64_t due = USEC_FOREVER;
    int enabled = SD_EVENT_OFF;

    (void)sd_event_source_get_enabled(m->timer, &enabled);
    (void)sd_event_source_get_time(m->timer, &due);
    if (enabled == SD_EVENT_OFF || due > now_usec() + usec)
        wake_in(m, usec);
}

static void add_note(struct monitor *m, const struct decision *d)
{
    const struct monitor_note *n = notes_add(&m->notes, realtime_usec(), d, &m->sample);

    if (m->ops && d->action != DECIDE_HOLD)
        m->ops->decided(n, m->ops_userdata);
}

const struct monitor_note *monitor_note(const struct monitor *m, uint32_t back)
{
    return notes_get(&m->notes, back);
}

static void send_report(struct monitor *m, uint64_t now)
{
    const struct meminfo *mem = &m->sample.meminfo;

    m->reported = now;
    (void)actuator_link_report(m->link, mem->available, mem->total, m->sample.pressure.some.avg10,
            channel_level_to_string(m->decision.level));
}

static void log_decision(const struct decision *d, const struct decide_sample *p, bool dry)
{
    log_info("%s%s %s: %s (available %s, projected %s, headroom %s, falling %s/s, round trip %u ms, size %s, "
             "pressure %u.%02u %%)",
            dry ? "would " : "", decide_action_to_string(d->action), FORMAT_BYTES(d->bytes),
            decide_why_to_string(d->why), FORMAT_BYTES(d->available), FORMAT_BYTES(d->projected),
            FORMAT_BYTES(d->headroom), FORMAT_BYTES(d->rate), (unsigned)(d->round_trip / USEC_PER_MSEC),
            FORMAT_BYTES(p->size), d->pressure10 / 100, d->pressure10 % 100);
}

/* Carries out the decision: sends one request to the actuator. */
static void request_resize(struct monitor *m, const struct decision *d, uint64_t now)
{
    char reason[64];
    int r;

    if (monitor_mode(m) != MONITOR_AUTO) {
        notes_outcome(&m->notes, "mode is %s: not requested", monitor_mode_to_string(monitor_mode(m)));
        log_decision(d, &m->sample, true);
        decide_result(&m->state, d->action, DECIDE_REFUSED_LIMIT, now);
        return;
    }
    (void)snprintf(reason, sizeof(reason), "%s", decide_why_to_string(d->why));
    r = actuator_link_resize(m->link, d->action == DECIDE_GROW, d->bytes, reason);
    if (r < 0) {
        notes_outcome(&m->notes, "not sent: %s", strerror(-r));
        decide_result(&m->state, d->action, DECIDE_UNANSWERED, now);
        return;
    }
    m->asked = d->action;
    if (d->action == DECIDE_GROW)
        m->shrink_id = 0; /* the grow answers the host's request */
    log_decision(d, &m->sample, false);
}

/* Arms the guard only while the monitor requests memory; otherwise throttled tasks are never released. */
static void arm_guard(struct monitor *m, const struct decision *d, uint64_t now)
{
    const struct meminfo *mem = &m->sample.meminfo;
    uint64_t headroom = monitor_mode(m) == MONITOR_AUTO ? d->guard_headroom : 0;

    if (rearm_due(&m->rearm, headroom, mem->available, mem->total, now) &&
            actuator_link_arm_guard(m->link, headroom) < 0)
        rearm_forget(&m->rearm);
}

static void reclaim_cache(struct monitor *m, const struct decision *d)
{
    if (monitor_mode(m) != MONITOR_AUTO || d->reclaim == 0 || m->reclaiming)
        return;
    m->reclaiming = actuator_link_reclaim(m->link, d->reclaim) >= 0;
}

static void decline_shrink(struct monitor *m)
{
    log_info("shrink to %s declined: %s available, headroom %s", FORMAT_BYTES(m->shrink_to),
            FORMAT_BYTES(m->decision.available), FORMAT_BYTES(m->decision.headroom));
    (void)actuator_link_decline(m->link, m->shrink_id, channel_code_to_string(CHANNEL_CODE_IN_USE));
    m->shrink_id = 0;
}

/* Processes may move into the root cgroup at any time, but rarely do: check once a second. */
static void check_root_cgroup(struct monitor *m, uint64_t now)
{
    if (m->root_checked > 0 && now < m->root_checked + ROOT_CHECK_USEC)
        return;
    m->root_checked = now;
    m->sample.unguarded = line_watch_root_is_used(m->lines);
}

static void fill_sample(struct monitor *m, uint64_t now)
{
    const struct actuator_view *v = actuator_link_view(m->link);
    struct decide_sample *p = &m->sample;

    sampler_read(&m->sampler, now, p);
    p->event_early = m->triggers.list[TRIGGER_EARLY].fired;
    p->event_hard = m->triggers.list[TRIGGER_HARD].fired;
    p->connected = v->connected;
    p->in_flight = m->asked != DECIDE_HOLD;
    p->size = v->size;
    p->requested_size = v->requested_size;
    p->min_size = v->min_size;
    p->max_size = MIN_OF(v->max_size, v->host_max_size);
    p->block_size = v->block_size;
    p->memory_block_size = v->memory_block_size;
    /* The host's request ends when the requested size has reached it, or when the host disconnects. */
    if (!v->connected || v->requested_size <= m->shrink_to)
        m->shrink_id = 0;
    p->shrink_to = m->shrink_id > 0 ? m->shrink_to : UINT64_MAX;
    p->guard_armed = v->guard_headroom > 0;
    p->guard_held = p->guard_armed && v->guard_held;
    p->boot_size = v->boot_size;
    check_root_cgroup(m, now);
    p->reclaiming = m->reclaiming;
    /* An event stays pending until a new PSI reading can confirm it. */
    if (p->pressure_fresh)
        m->triggers.list[TRIGGER_EARLY].fired = m->triggers.list[TRIGGER_HARD].fired = false;
}

/* Publishes the headroom once a second at most: it follows MemTotal, which rises in many small steps during a
 * plug. */
static void publish_headroom(struct monitor *m, uint64_t now)
{
    uint64_t headroom = monitor_headroom(m);

    if (headroom == m->headroom_published || now - m->headroom_published_at < HEADROOM_PUBLISH_USEC)
        return;
    m->headroom_published = headroom;
    m->headroom_published_at = now;
    if (m->ops)
        m->ops->headroom_changed(m->ops_userdata);
}

/* Warns programs only in the mode in which the monitor would request memory. */
static void warn_programs(struct monitor *m, const struct decision *d, uint64_t now)
{
    enum low_memory_level level = LOW_MEMORY_NONE;

    if (m->config.low_memory_warnings && monitor_mode(m) == MONITOR_AUTO && m->ops)
        level = low_memory_step(&m->low_memory, d, m->state.refused, now);
    if (level != LOW_MEMORY_NONE)
        m->ops->low_memory(level, d, m->ops_userdata);
}

static void publish_level(struct monitor *m, enum channel_level old, const struct decision *d, uint64_t now)
{
    if (d->level == old)
        return;
    log_debug("level %s, was %s", channel_level_to_string(d->level), channel_level_to_string(old));
    if (m->ops)
        m->ops->level_changed(old, d->level, m->ops_userdata);
    send_report(m, now);
}

/* The pause after a step that began at begun (µs). A step takes 1 or 2 ms under TCG and far less elsewhere.
 * When it takes longer, because the processors are busy or have a quota, the actuator needs them to forward
 * the request. */
static uint64_t compute_pause(uint64_t begun)
{
    return MIN_OF((now_usec() - begun) * STEP_PAUSE_FACTOR, STEP_PAUSE_MAX_USEC);
}

/* Watches the lines again, or returns the µs after which this is due. */
static uint64_t rearm_lines(struct monitor *m, uint64_t now)
{
    if (m->crossed > 0 && now < m->crossed + CROSSED_PAUSE_USEC)
        return m->crossed + CROSSED_PAUSE_USEC - now;
    line_watch_rearm(m->lines);
    return USEC_FOREVER;
}

static void monitor_step(struct monitor *m)
{
    enum channel_level old_level = m->decision.level;
    enum decide_why old_why = m->decision.why;
    uint64_t now = now_usec();
    struct decision d;

    fill_sample(m, now);
    decide_step(&m->decide_config, &m->state, &m->sample, now, &d);
    m->decision = d;
    m->stepped = now;
    recorder_write(m->recorder, now, &m->sample, &d);
    wake_in(m, MAX_OF(MIN_OF(d.wait_usec, rearm_lines(m, now)), compute_pause(now)));

    if (d.why == DECIDE_UNKNOWN_INPUT)
        log_repeated(&m->unknown_fault, now, LOG_WARNING, "holding: %s", decide_why_text(d.why));
    if (d.action != DECIDE_HOLD || (d.why != old_why && d.why != DECIDE_IN_FLIGHT))
        add_note(m, &d);
    if (d.action != DECIDE_HOLD)
        request_resize(m, &d, now);
    if (d.decline)
        decline_shrink(m);
    reclaim_cache(m, &d);
    arm_guard(m, &d, now);
    publish_level(m, old_level, &d, now);
    publish_headroom(m, now);
    warn_programs(m, &d, now);
    if (now - m->reported >= REPORT_USEC)
        send_report(m, now);
}

static int on_sample_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    monitor_step(userdata);
    return 0;
}

static void on_trigger_fired(void *userdata)
{
    monitor_step(userdata);
}

/* A crossed line means that a burst has begun or continues. */
static void on_line_crossed(void *userdata)
{
    struct monitor *m = userdata;
    uint64_t now = now_usec();

    m->crossed = now;
    if (now >= m->stepped + DECIDE_INTERVAL_MIN_USEC)
        monitor_step(m);
    else
        wake_by(m, DECIDE_INTERVAL_MIN_USEC);
}

static void request_trigger(struct monitor *m, enum trigger_kind kind)
{
    uint64_t stall, window;

    if (triggers_wanted(&m->triggers, kind, &stall, &window))
        (void)actuator_link_open_trigger(m->link, kind == TRIGGER_HARD, stall, window);
}

static void on_link_trigger(bool hard, int fd, void *userdata)
{
    struct monitor *m = userdata;
    enum trigger_kind kind = hard ? TRIGGER_HARD : TRIGGER_EARLY;

    if (!triggers_take(&m->triggers, kind, fd))
        request_trigger(m, kind);
}

static void on_link_connected(void *userdata)
{
    struct monitor *m = userdata;

    triggers_restart(&m->triggers);
    for (enum trigger_kind kind = 0; kind < _TRIGGER_KIND_MAX; kind++)
        request_trigger(m, kind);
    m->reported = 0;
}

/* After a reply or a new connection to the host, step now; after other changes, in the shortest interval. */
static void on_link_changed(void *userdata)
{
    struct monitor *m = userdata;

    wake_by(m, m->decision.why == DECIDE_NO_HOST || m->decision.why == DECIDE_IN_FLIGHT
                       ? 0
                       : DECIDE_INTERVAL_MIN_USEC);
}

static enum decide_outcome outcome_of(const char *error)
{
    static const struct {
        const char *name;
        enum decide_outcome outcome;
    } table[] = {
        { ERROR_HOST_REFUSED, DECIDE_REFUSED_HOST },
        { ERROR_BUSY, DECIDE_REFUSED_RATE },
        { ERROR_RATE_LIMITED, DECIDE_REFUSED_RATE },
        { ERROR_LIMIT_EXCEEDED, DECIDE_REFUSED_LIMIT },
        { ERROR_BELOW_MINIMUM, DECIDE_REFUSED_LIMIT },
        { ERROR_INVALID_SIZE, DECIDE_REFUSED_LIMIT },
    };

    if (!error)
        return DECIDE_GRANTED;
    for (size_t i = 0; i < ELEMENTSOF(table); i++)
        if (streq(table[i].name, error))
            return table[i].outcome;
    return DECIDE_UNANSWERED;
}

static void on_link_answered(uint64_t requested_size, const char *error, const char *text, void *userdata)
{
    struct monitor *m = userdata;
    enum decide_action asked = m->asked;
    uint64_t now = now_usec();

    m->asked = DECIDE_HOLD;
    if (error) {
        notes_outcome(&m->notes, "%s: %s", error, text ?: "");
        log_repeated(&m->refused_fault, now, LOG_WARNING, "%s refused: %s: %s",
                decide_action_to_string(asked), error, text ?: "");
    } else {
        notes_outcome(&m->notes, "granted: requested size %s", FORMAT_BYTES(requested_size));
        log_repeat_end(&m->refused_fault, LOG_INFO, "refusals");
    }
    decide_result(&m->state, asked, outcome_of(error), now);
    wake_by(m, DECIDE_INTERVAL_MIN_USEC);
}

static void on_link_reclaimed(uint64_t bytes, const char *error, void *userdata)
{
    struct monitor *m = userdata;

    m->reclaiming = false;
    if (error)
        log_debug("reclaim: %s", error);
    else
        log_debug("reclaimed %s of page cache", FORMAT_BYTES(bytes));
}

static void on_link_shrink(uint64_t id, uint64_t size, const char *reason, void *userdata)
{
    struct monitor *m = userdata;

    log_info("the host requests a shrink to %s: %s", FORMAT_BYTES(size), reason);
    m->shrink_id = id;
    m->shrink_to = size;
    wake_in(m, 0);
}

static void on_link_room(void *userdata)
{
    struct monitor *m = userdata;

    decide_room(&m->state);
    wake_in(m, 0);
}

static void on_link_lost(void *userdata)
{
    struct monitor *m = userdata;

    triggers_close(&m->triggers);
    rearm_forget(&m->rearm);
    m->shrink_id = 0;
}

static const struct actuator_link_ops link_ops = {
    .changed = on_link_changed,
    .connected = on_link_connected,
    .answered = on_link_answered,
    .trigger = on_link_trigger,
    .shrink_requested = on_link_shrink,
    .room = on_link_room,
    .reclaimed = on_link_reclaimed,
    .lost = on_link_lost,
};

void monitor_configure(struct monitor *m, const struct monitor_config *c)
{
    uint64_t fastest = m->decide_config.fastest_rate;

    m->config = *c;
    m->decide_config = monitor_config_decide(c);
    m->decide_config.fastest_rate = fastest;
    m->decide_config.page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    m->state.settle_usec = m->decide_config.settle_usec;
    if (m->ops)
        m->ops->configured(m->ops_userdata);
}

static void on_pause_changed(void *userdata)
{
    struct monitor *m = userdata;

    if (m->ops)
        m->ops->mode_changed(m->ops_userdata);
    wake_in(m, 0);
}

struct pause *monitor_pause(struct monitor *m)
{
    return &m->pause;
}

int monitor_new(sd_event *event, const struct monitor_options *o, struct monitor **ret)
{
    struct monitor *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return -ENOMEM;
    m->event = sd_event_ref(event);
    m->recorder = o->recorder;
    triggers_init(&m->triggers, event, on_trigger_fired, m);
    m->decide_config.fastest_rate = sampler_measure_fastest();
    monitor_configure(m, o->config);
    decide_init(&m->state, &m->decide_config);
    log_info("memory can be touched at %s/s at most, headroom %s",
            FORMAT_BYTES(m->decide_config.fastest_rate),
            m->config.headroom > 0 ? FORMAT_BYTES(m->config.headroom) : "automatic");

    r = sampler_open(&m->sampler, o->procfs);
    if (r >= 0)
        r = sd_event_add_time_relative(event, &m->timer, CLOCK_MONOTONIC, 0, 1, on_sample_timer, m);
    if (r >= 0)
        r = line_watch_new(event, o->cgroup, on_line_crossed, m, &m->lines);
    if (r >= 0)
        r = pause_init(&m->pause, event, on_pause_changed, m);
    if (r >= 0)
        r = actuator_link_new(event, o->socket, &link_ops, m, &m->link);
    if (r < 0) {
        monitor_free(m);
        return r;
    }
    *ret = m;
    return 0;
}

struct monitor *monitor_free(struct monitor *m)
{
    if (!m)
        return NULL;
    m->link = actuator_link_free(m->link);
    m->lines = line_watch_free(m->lines);
    triggers_done(&m->triggers);
    sampler_close(&m->sampler);
    sd_event_source_disable_unref(m->timer);
    pause_done(&m->pause);
    sd_event_unref(m->event);
    free(m);
    return NULL;
}

void monitor_set_ops(struct monitor *m, const struct monitor_ops *ops, void *userdata)
{
    m->ops = ops;
    m->ops_userdata = userdata;
}

enum monitor_mode monitor_mode(const struct monitor *m)
{
    return m->pause.until > 0 ? MONITOR_PAUSED : m->config.mode;
}

enum channel_level monitor_level(const struct monitor *m)
{
    return m->decision.level;
}

bool monitor_warns_programs(const struct monitor *m)
{
    return m->config.low_memory_warnings;
}

uint64_t monitor_available(const struct monitor *m)
{
    return m->sample.meminfo.available;
}

uint64_t monitor_headroom(const struct monitor *m)
{
    return decide_headroom(&m->decide_config, m->sample.meminfo.total);
}

uint32_t monitor_some10(const struct monitor *m)
{
    return m->sample.pressure.some.avg10;
}
