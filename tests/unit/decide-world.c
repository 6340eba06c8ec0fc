/* SPDX-License-Identifier: MIT */
#include "decide-world.h"

void world_init(struct world *w)
{
    *w = (struct world){
        .config = {
            .profile = DECIDE_BALANCED,
            .max_size = UINT64_MAX,
            .settle_usec = 10 * USEC_PER_SEC,
            .fastest_rate = MIB(512),
            .page_size = 4096,
        },
        .sample = {
            .have_meminfo = true,
            .meminfo = { .total = MIB(960), .free = MIB(700), .available = MIB(800) },
            .have_zones = true,
            .zones = { .kernel_free = MIB(800), .kernel_min = MIB(4), .kernel_managed = MIB(960),
                    .kernel_room = MIB(796) },
            .have_vmstat = true,
            .vmstat_fresh = true,
            .have_pressure = true,
            .pressure_fresh = true,
            .connected = true,
            .max_size = GIB(8),
            .block_size = MIB(2),
            .memory_block_size = MIB(128),
            .shrink_to = UINT64_MAX,
        },
        .now = 100 * USEC_PER_SEC,
    };
    decide_init(&w->state, &w->config);
}

const struct decision *step(struct world *w, uint64_t after_usec)
{
    w->now += after_usec;
    decide_step(&w->config, &w->state, &w->sample, w->now, &w->decision);
    w->sample.event_early = w->sample.event_hard = false;
    return &w->decision;
}

void set_available(struct world *w, uint64_t available)
{
    w->sample.meminfo.available = available;
    w->sample.meminfo.free = available;
    w->sample.zones.kernel_free = MIN_OF(available, MIB(800));
    w->sample.zones.kernel_room = sub_floor(w->sample.zones.kernel_free, w->sample.zones.kernel_min);
    w->sample.zones.movable_managed = w->sample.size;
}

void set_size(struct world *w, uint64_t size)
{
    w->sample.size = w->sample.requested_size = size;
    w->sample.meminfo.total = MIB(960) + size;
    w->sample.zones.movable_managed = size;
}

void apply(struct world *w)
{
    uint64_t bytes = w->decision.bytes;

    if (w->decision.action == DECIDE_GROW) {
        set_size(w, MAX_OF(w->sample.size, w->sample.requested_size) + bytes);
        set_available(w, w->sample.meminfo.available + bytes);
    } else if (w->decision.action == DECIDE_SHRINK) {
        set_size(w, w->sample.size - bytes);
        set_available(w, w->sample.meminfo.available - bytes);
    }
    if (w->decision.action != DECIDE_HOLD)
        decide_result(&w->state, w->decision.action, DECIDE_GRANTED, w->now);
}

bool run_until(struct world *w, enum decide_action action, uint64_t usec)
{
    uint64_t end = w->now + usec;

    while (w->now < end) {
        step(w, MAX_OF(w->decision.wait_usec, DECIDE_INTERVAL_MIN_USEC));
        if (w->decision.action == action)
            return true;
        apply(w);
    }
    return false;
}

void check_situations(const struct situation *situations, size_t n)
{
    unsigned bad = 0;

    for (size_t i = 0; i < n; i++) {
        const struct situation *s = &situations[i];
        struct world w;
        bool bounds;

        world_init(&w);
        step(&w, 0);
        s->set(&w);
        step(&w, USEC_PER_SEC);
        if (w.decision.action != s->action || w.decision.why != s->why || w.decision.level != s->level)
            bad++, print_error("%s: got %s %s %s, wanted %s %s %s\n", s->name,
                           decide_action_to_string(w.decision.action), decide_why_to_string(w.decision.why),
                           channel_level_to_string(w.decision.level), decide_action_to_string(s->action),
                           decide_why_to_string(s->why), channel_level_to_string(s->level));
        bounds = w.decision.wait_usec >= DECIDE_INTERVAL_MIN_USEC &&
                 w.decision.wait_usec <= DECIDE_INTERVAL_MAX_USEC;
        assert_true(bounds);
    }
    assert_int_equal(bad, 0);
}
