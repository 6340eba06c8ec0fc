/* SPDX-License-Identifier: MIT */
/* The decisions when memory is short, is about to be short, or only seems short. */
#include "decide-world.h"

static void set_nothing(struct world *w)
{
}

static void set_short(struct world *w)
{
    set_available(w, MIB(200));
}

static void set_critical(struct world *w)
{
    set_available(w, MIB(100));
}

static void set_short_at_max(struct world *w)
{
    set_size(w, GIB(8));
    set_available(w, MIB(200));
}

static void set_short_own_max(struct world *w)
{
    w->config.max_size = GIB(1);
    set_size(w, GIB(1));
    set_available(w, MIB(200));
}

static void set_short_no_host(struct world *w)
{
    w->sample.connected = false;
    set_available(w, MIB(200));
}

static void set_short_in_flight(struct world *w)
{
    w->sample.in_flight = true;
    set_available(w, MIB(200));
}

static void set_short_no_blocks(struct world *w)
{
    w->sample.memory_block_size = 0;
    set_available(w, MIB(200));
}

static void set_short_kernel_zones(struct world *w)
{
    set_available(w, MIB(200));
    w->sample.zones.kernel_free = MIB(5);
}

static void set_short_kernel_zones_with_cache(struct world *w)
{
    set_available(w, MIB(200));
    w->sample.zones.kernel_free = MIB(5);
    w->sample.zones.kernel_file = MIB(100);
}

static void set_short_zones_unknown(struct world *w)
{
    w->sample.have_zones = false;
    set_available(w, MIB(200));
}

static void set_plugging_enough(struct world *w)
{
    w->sample.requested_size = MIB(512);
    set_available(w, MIB(220));
    w->state.trend.last_available = MIB(220);
}

static void set_unknown(struct world *w)
{
    w->sample.have_meminfo = false;
}

static void set_event_streaming(struct world *w)
{
    w->sample.event_early = true;
    w->sample.pressure.some.total += 20000;
}

static void set_event_unconfirmed(struct world *w)
{
    w->sample.event_early = true;
    set_available(w, MIB(380));
    w->state.trend.last_available = MIB(380);
}

static void set_event_confirmed(struct world *w)
{
    set_event_unconfirmed(w);
    w->sample.pressure.some.total += 20000;
}

static void set_event_refaults(struct world *w)
{
    w->sample.event_hard = true;
    w->sample.pressure.some.total += 500000;
    w->sample.vmstat.workingset_refault_file += 100000;
}

static void set_headroom_big(struct world *w)
{
    w->config.headroom = GIB(1);
}

static void set_headroom_small(struct world *w)
{
    w->config.headroom = MIB(1);
}

static void set_refused(struct world *w)
{
    set_short(w);
    w->state.refused_until = w->now + 5 * USEC_PER_SEC;
}

static void set_no_pressure_short(struct world *w)
{
    w->sample.have_pressure = w->sample.have_vmstat = false;
    set_short(w);
}

static void set_event_without_psi(struct world *w)
{
    w->sample.have_pressure = false;
    set_event_confirmed(w);
}

static void set_event_stale(struct world *w)
{
    set_event_confirmed(w);
    w->sample.pressure_fresh = false;
}

static void set_refaults_without_event(struct world *w)
{
    w->sample.vmstat.workingset_refault_file += 100000;
}

static void set_event_few_refaults(struct world *w)
{
    w->sample.event_hard = true;
    w->sample.pressure.some.total += 500000;
    w->sample.vmstat.workingset_refault_file += 100;
}

static void set_event_refaults_anon(struct world *w)
{
    w->sample.event_hard = true;
    w->sample.pressure.some.total += 500000;
    w->sample.vmstat.workingset_refault_anon += 100000;
}

static void set_event_refaults_at_max(struct world *w)
{
    set_size(w, GIB(8));
    set_event_refaults(w);
}

static void set_limit_below_size(struct world *w)
{
    set_size(w, GIB(2));
    set_short(w);
    w->sample.max_size = GIB(1);
}

static void set_no_device(struct world *w)
{
    w->sample.block_size = 0;
    set_short(w);
}

static void set_empty_device(struct world *w)
{
    w->sample.max_size = 0;
    set_short(w);
}

static void set_room_of_one_block(struct world *w)
{
    w->sample.max_size = MIB(2);
    set_short(w);
}

static void set_kernel_floor(struct world *w)
{
    set_size(w, GIB(2));
    set_available(w, MIB(500));
    w->state.trend.last_available = MIB(500);
    w->sample.zones.movable_managed = GIB(2);
    w->sample.zones.kernel_free = MIB(480);
}

static void set_kernel_floor_at_max(struct world *w)
{
    set_kernel_floor(w);
    w->sample.max_size = GIB(2);
}

static void set_kernel_floor_movable_free(struct world *w)
{
    set_kernel_floor(w);
    set_available(w, MIB(900));
    w->state.trend.last_available = MIB(900);
    w->sample.zones.kernel_free = MIB(100);
}

static void set_swap_filling(struct world *w)
{
    w->sample.meminfo.swap_total = GIB(4);
    w->state.trend.last_available = MIB(800) + GIB(1);
}

static void set_falling_fast(struct world *w)
{
    set_available(w, MIB(420));
}

static void set_falling_slowly(struct world *w)
{
    set_available(w, MIB(780));
}

static void set_full_cache(struct world *w)
{
    w->sample.meminfo.free = MIB(20);
    w->sample.meminfo.cached = w->sample.meminfo.inactive_file = MIB(700);
    w->sample.zones.kernel_free = MIB(20);
    w->sample.zones.kernel_file = MIB(700);
}

static void set_full_cache_short(struct world *w)
{
    set_full_cache(w);
    w->sample.meminfo.available = MIB(200);
}

static void set_nothing_left(struct world *w)
{
    set_available(w, 0);
}

static void set_in_flight(struct world *w)
{
    w->sample.in_flight = true;
}

static const struct situation situations[] = {
    { "idle", set_nothing, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "short", set_short, DECIDE_GROW, DECIDE_SHORT, CHANNEL_LEVEL_RISING },
    { "critical", set_critical, DECIDE_GROW, DECIDE_SHORT, CHANNEL_LEVEL_CRITICAL },
    { "short at max size", set_short_at_max, DECIDE_HOLD, DECIDE_AT_MAX, CHANNEL_LEVEL_CRITICAL },
    { "short at own max size", set_short_own_max, DECIDE_HOLD, DECIDE_AT_MAX, CHANNEL_LEVEL_CRITICAL },
    { "short without host", set_short_no_host, DECIDE_HOLD, DECIDE_NO_HOST, CHANNEL_LEVEL_RISING },
    { "short, request in flight", set_short_in_flight, DECIDE_HOLD, DECIDE_IN_FLIGHT, CHANNEL_LEVEL_RISING },
    { "memory block size unknown", set_short_no_blocks, DECIDE_HOLD, DECIDE_NO_HOST, CHANNEL_LEVEL_RISING },
    { "kernel zones used up", set_short_kernel_zones, DECIDE_GROW, DECIDE_KERNEL_ZONES,
            CHANNEL_LEVEL_CRITICAL },
    { "kernel zones full of cache", set_short_kernel_zones_with_cache, DECIDE_GROW, DECIDE_SHORT,
            CHANNEL_LEVEL_RISING },
    { "kernel zones unknown", set_short_zones_unknown, DECIDE_GROW, DECIDE_SHORT, CHANNEL_LEVEL_RISING },
    { "pending memory suffices", set_plugging_enough, DECIDE_HOLD, DECIDE_PLUGGING, CHANNEL_LEVEL_RISING },
    { "statistics unreadable", set_unknown, DECIDE_HOLD, DECIDE_UNKNOWN_INPUT, CHANNEL_LEVEL_NORMAL },
    { "event from streaming I/O", set_event_streaming, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "spurious event", set_event_unconfirmed, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "event with little available", set_event_confirmed, DECIDE_GROW, DECIDE_PRESSURE,
            CHANNEL_LEVEL_RISING },
    { "event with refaults", set_event_refaults, DECIDE_GROW, DECIDE_REFAULTS, CHANNEL_LEVEL_RISING },
    { "configured headroom", set_headroom_big, DECIDE_GROW, DECIDE_SHORT, CHANNEL_LEVEL_RISING },
    { "headroom below the minimum", set_headroom_small, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "short, refused", set_refused, DECIDE_HOLD, DECIDE_REFUSED, CHANNEL_LEVEL_CRITICAL },
    { "short without pressure", set_no_pressure_short, DECIDE_GROW, DECIDE_SHORT, CHANNEL_LEVEL_RISING },
    { "event without pressure", set_event_without_psi, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "event, old pressure", set_event_stale, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "refaults, no event", set_refaults_without_event, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "event, few refaults", set_event_few_refaults, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "event, anonymous refaults", set_event_refaults_anon, DECIDE_GROW, DECIDE_REFAULTS,
            CHANNEL_LEVEL_RISING },
    { "refaults at max size", set_event_refaults_at_max, DECIDE_HOLD, DECIDE_AT_MAX, CHANNEL_LEVEL_RISING },
    { "short above a new limit", set_limit_below_size, DECIDE_HOLD, DECIDE_AT_MAX, CHANNEL_LEVEL_CRITICAL },
    { "short without device", set_no_device, DECIDE_HOLD, DECIDE_NO_HOST, CHANNEL_LEVEL_RISING },
    { "short, empty device", set_empty_device, DECIDE_HOLD, DECIDE_AT_MAX, CHANNEL_LEVEL_CRITICAL },
    { "short, one block left", set_room_of_one_block, DECIDE_GROW, DECIDE_SHORT, CHANNEL_LEVEL_RISING },
    { "kernel part is near, available is steady", set_kernel_floor, DECIDE_HOLD, DECIDE_ENOUGH,
            CHANNEL_LEVEL_NORMAL },
    { "kernel part, at max size", set_kernel_floor_at_max, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "kernel part is small, movable free", set_kernel_floor_movable_free, DECIDE_HOLD, DECIDE_SETTLING,
            CHANNEL_LEVEL_SETTLING },
    { "swap is filling, much available", set_swap_filling, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "falling fast into the kernel part", set_falling_fast, DECIDE_GROW, DECIDE_KERNEL_FLOOR,
            CHANNEL_LEVEL_RISING },
    { "idle, request in flight", set_in_flight, DECIDE_HOLD, DECIDE_IN_FLIGHT, CHANNEL_LEVEL_NORMAL },
    { "falling slowly", set_falling_slowly, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "full of cache", set_full_cache, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "full of cache, short", set_full_cache_short, DECIDE_GROW, DECIDE_SHORT, CHANNEL_LEVEL_RISING },
    { "no memory for a memmap", set_nothing_left, DECIDE_GROW, DECIDE_KERNEL_ZONES, CHANNEL_LEVEL_CRITICAL },
};

static void test_each_situation_has_its_decision(void **state)
{
    check_situations(situations, ELEMENTSOF(situations));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_situation_has_its_decision),
    };

    return cmocka_run_group_tests_name("decide-situations", tests, NULL, NULL);
}
