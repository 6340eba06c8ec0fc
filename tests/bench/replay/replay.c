/* SPDX-License-Identifier: MIT */
#include "replay.h"

#include <time.h>

/* Demand, cache and stall change linearly within a tick. */
#define TICK_USEC (10 * USEC_PER_MSEC)
#define POINT_USEC USEC_PER_SEC
#define IDLE_AFTER_USEC (150 * USEC_PER_SEC)

/* The constants of the monitor's sampler and triggers. */
#define PRESSURE_READ_USEC (100 * USEC_PER_MSEC)
#define WINDOW_USEC (50 * USEC_PER_MSEC)
#define EARLY_STALL_USEC (5 * USEC_PER_MSEC)
#define HARD_STALL_USEC (10 * USEC_PER_MSEC)
/* The upper limit of the rate that the sampler measures. */
#define FASTEST_RATE GIB(2)
#define PAGE_SIZE_BYTES UINT64_C(4096)
/* The guard checks its lines at this interval, and reports waiting tasks from the second check on. */
#define HELD_REPORT_USEC (20 * USEC_PER_MSEC)
/* The monitor ignores crossed lines for this long after a crossing that woke it. */
#define CROSSED_PAUSE_USEC (250 * USEC_PER_MSEC)

struct replay {
    const struct replay_options *options;
    const struct trace *trace;
    struct replay_result *result;
    struct model model;
    size_t cursor;
    uint64_t next_look;
    uint64_t next_point;

    struct decide_config config;
    struct decide_state state;
    struct decide_sample sample;
    bool asking; /* the decision's request has no reply yet */
    enum decide_action asked;
    uint64_t pressure_time;
    uint64_t window_time;
    uint64_t window_stall;
    bool event_early;
    bool event_hard;
    uint64_t last_look;
    uint64_t crossed;    /* when a crossed line last woke the monitor; 0: never */
    uint64_t held_since; /* since when demand waits at the guard's line; 0: none waits */
    uint64_t late_since; /* since when demand is behind the recording; 0: it is not */
    bool held_reported;
};

static void fill_sample(struct replay *r)
{
    const struct model *m = &r->model;
    struct decide_sample *p = &r->sample;
    bool fresh = r->pressure_time == 0 || m->now >= r->pressure_time + PRESSURE_READ_USEC;

    p->have_meminfo = p->have_zones = p->have_vmstat = p->have_pressure = p->connected = true;
    p->meminfo = (struct meminfo){
        .total = m->total,
        .free = model_free(m),
        .available = model_available(m),
        .cached = m->cache,
        .active_file = model_active_file(m),
        .inactive_file = m->cache - model_active_file(m),
    };
    model_zones(m, &p->zones);
    p->pressure_fresh = p->vmstat_fresh = fresh;
    if (fresh) {
        r->pressure_time = m->now;
        p->vmstat = (struct vmstat){ .workingset_refault_file = m->refaults / PAGE_SIZE_BYTES };
        p->pressure = (struct pressure){ .some = { .total = m->stall } };
    }
    p->event_early = r->event_early;
    p->event_hard = r->event_hard;
    if (fresh)
        r->event_early = r->event_hard = false;
    p->in_flight = m->asked;
    p->size = m->size;
    p->requested_size = m->requested;
    p->max_size = m->options.max;
    p->block_size = MODEL_BLOCK;
    p->memory_block_size = MODEL_MEMORY_BLOCK;
    p->shrink_to = UINT64_MAX;
    p->boot_size = m->options.boot;
    p->guard_armed = m->guard_headroom > 0;
    p->guard_held = r->held_reported;
    p->reclaiming = m->squeezing > 0;
}

static uint64_t clock_nsec(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void count_request(struct replay *r, uint64_t size)
{
    if (size > MAX_OF(r->model.size, r->model.requested))
        r->result->grows++;
    else
        r->result->shrinks++;
    model_request(&r->model, size);
}

static void decide(struct replay *r)
{
    const struct model *m = &r->model;
    struct decision d;
    uint64_t begun;
    uint32_t nsec;

    if (r->asking && !m->asked) {
        decide_result(&r->state, r->asked, DECIDE_GRANTED, m->now);
        r->asking = false;
    }
    fill_sample(r);
    r->last_look = m->now;
    begun = clock_nsec();
    decide_step(&r->config, &r->state, &r->sample, m->now, &d);
    nsec = (uint32_t)MIN_OF(clock_nsec() - begun, UINT32_MAX);
    g_array_append_val(r->result->step_nsec, nsec);
    r->next_look = m->now + d.wait_usec;
    r->model.guard_headroom = d.guard_headroom;
    if (d.reclaim > 0 && m->squeezing == 0)
        model_squeeze(&r->model, d.reclaim);
    if (d.action == DECIDE_HOLD)
        return;
    r->asking = true;
    r->asked = d.action;
    count_request(r, d.action == DECIDE_GROW ? MAX_OF(m->size, m->requested) + d.bytes : m->size - d.bytes);
}

static void follow_rule(struct replay *r)
{
    const struct model *m = &r->model;
    uint64_t wait, size = policy_wants(r->options->policy, m, &wait);

    r->next_look = m->now + wait;
    if (!m->asked && size != m->requested)
        count_request(r, size);
}

static void look(struct replay *r)
{
    if (r->options->policy == POLICY_VMTIDE)
        decide(r);
    else
        follow_rule(r);
}

/* A trigger fires at most once per window and wakes the monitor. */
static void follow_pressure(struct replay *r)
{
    const struct model *m = &r->model;
    uint64_t grown;

    if (m->now < r->window_time + WINDOW_USEC)
        return;
    grown = m->stall - r->window_stall;
    r->window_time = m->now;
    r->window_stall = m->stall;
    if (grown < EARLY_STALL_USEC || r->options->policy != POLICY_VMTIDE)
        return;
    r->event_early = true;
    r->event_hard = r->event_hard || grown >= HARD_STALL_USEC;
    r->next_look = m->now;
}

/* Wakes the monitor when demand reaches the guard's line and when the guard reports that it holds tasks. */
static void follow_guard(struct replay *r)
{
    struct model *m = &r->model;
    bool held;

    if (model_held(m) == 0)
        r->late_since = 0;
    else if (r->late_since == 0)
        r->late_since = m->now;
    if (!m->at_line)
        r->held_since = 0;
    else if (r->held_since == 0)
        r->held_since = m->now;
    held = r->held_since > 0 && m->now >= r->held_since + HELD_REPORT_USEC;
    if (m->crossed && (r->crossed == 0 || m->now >= r->crossed + CROSSED_PAUSE_USEC)) {
        r->crossed = m->now;
        r->next_look = MIN_OF(r->next_look, MAX_OF(m->now, r->last_look + DECIDE_INTERVAL_MIN_USEC));
    }
    if (held && !r->held_reported)
        r->next_look = m->now;
    r->held_reported = held;
    m->crossed = false;
}

static void account_demand(struct replay_result *res, const struct replay *r, uint64_t usec)
{
    const struct model *m = &r->model;

    if (m->short_bytes > 0)
        res->shortfall_usec += usec;
    res->shortfall_max = MAX_OF(res->shortfall_max, m->short_bytes);
    if (model_held(m) == 0)
        return;
    res->held_usec += usec;
    res->held_max = MAX_OF(res->held_max, m->now + usec - r->late_since);
}

static void account(struct replay *r, uint64_t usec, uint64_t start)
{
    const struct model *m = &r->model;
    struct replay_result *res = r->result;
    uint64_t held = m->options.boot + m->size;

    res->footprint += (unsigned __int128)held * usec;
    res->peak = MAX_OF(res->peak, held);
    account_demand(res, r, usec);
    if (m->now >= r->next_point) {
        struct replay_point point = {
            .time = m->now - start,
            .used = m->wanted,
            .cached = m->cached,
            .held = held,
            .requested = m->options.boot + m->requested,
            .available = model_available(m),
            .waiting = model_held(m),
        };

        g_array_append_val(res->points, point);
        r->next_point = m->now + POINT_USEC;
    }
}

static uint64_t idle_bytes(const struct replay_result *res)
{
    const struct replay_point *points = (const struct replay_point *)(void *)res->points->data;
    uint64_t most = 0, last = 0;

    for (guint i = 0; i < res->points->len; i++)
        most = MAX_OF(most, points[i].used);
    for (guint i = 0; i < res->points->len; i++)
        if (points[i].used >= most / 2)
            last = points[i].time;
    for (guint i = 0; i < res->points->len; i++)
        if (points[i].time >= last + IDLE_AFTER_USEC)
            return points[i].held;
    return res->points->len > 0 ? points[res->points->len - 1].held : 0;
}

static void run(struct replay *r)
{
    /* The decision requires a clock above 0. */
    const uint64_t start = USEC_PER_SEC, end = start + trace_duration(r->trace);
    struct model *m = &r->model;
    uint64_t used, cached;

    m->now = start;
    if (r->options->policy == POLICY_FIXED)
        m->size = m->requested = r->options->model.max;
    trace_at(r->trace, &r->cursor, 0, &used, &cached);
    model_start(m, used, cached);
    model_advance(m, 0, used, cached);
    r->next_look = start;
    while (m->now < end) {
        uint64_t usec;

        if (m->now >= r->next_look)
            look(r);
        usec = MIN_OF(MIN_OF(TICK_USEC, end - m->now), r->next_look - m->now);
        trace_at(r->trace, &r->cursor, m->now + usec - start, &used, &cached);
        model_advance(m, usec, used, cached);
        follow_guard(r);
        account(r, usec, start);
        follow_pressure(r);
    }
}

void replay_run(const struct replay_options *o, const struct trace *t, struct replay_result *ret)
{
    struct replay_result result = {
        .step_nsec = g_array_new(FALSE, FALSE, sizeof(uint32_t)),
        .points = g_array_new(FALSE, FALSE, sizeof(struct replay_point)),
    };
    struct replay r = {
        .options = o,
        .trace = t,
        .result = &result,
        .config = {
            .profile = o->profile,
            .max_size = UINT64_MAX,
            .settle_usec = decide_profile_settle(o->profile),
            .fastest_rate = FASTEST_RATE,
            .page_size = PAGE_SIZE_BYTES,
        },
    };

    model_init(&r.model, &o->model);
    r.model.options.reserves = o->policy == POLICY_VMTIDE;
    r.model.options.ballooned = o->policy != POLICY_VMTIDE;
    decide_init(&r.state, &r.config);
    run(&r);
    result.idle_bytes = idle_bytes(&result);
    *ret = result;
}

void replay_clear(struct replay_result *r)
{
    g_clear_pointer(&r->step_nsec, g_array_unref);
    g_clear_pointer(&r->points, g_array_unref);
}
