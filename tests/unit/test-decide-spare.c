/* SPDX-License-Identifier: MIT */
/* The decisions when memory is spare, when the host asks for memory, and during an unplug. */
#include "decide-world.h"

static void set_short(struct world *w)
{
    set_available(w, MIB(200));
}

static void set_spare(struct world *w)
{
    set_size(w, GIB(2));
    set_available(w, GIB(2));
    w->state.trend.last_total = w->sample.meminfo.total;
}

static void set_spare_under_pressure(struct world *w)
{
    set_spare(w);
    w->sample.pressure.some.total += 1500000;
}

static void set_spare_refaults(struct world *w)
{
    set_spare(w);
    w->sample.vmstat.workingset_refault_file += 100000;
}

static void set_spare_unplugging(struct world *w)
{
    set_spare(w);
    w->sample.requested_size = GIB(1);
}

static void set_host_asks(struct world *w)
{
    set_spare(w);
    w->sample.shrink_to = GIB(1);
}

static void set_host_asks_in_use(struct world *w)
{
    set_spare(w);
    set_available(w, MIB(300));
    w->state.trend.last_available = MIB(300);
    w->state.trend.last_total = w->sample.meminfo.total;
    w->sample.shrink_to = GIB(1);
}

static void set_at_min(struct world *w)
{
    set_spare(w);
    w->sample.min_size = GIB(2);
}

/* The actuator represents a reservation as its min size. */
static void set_reserved(struct world *w)
{
    set_spare(w);
    w->sample.min_size = w->sample.size;
    w->now += 60 * USEC_PER_SEC;
}

static void set_max_lowered(struct world *w)
{
    set_spare(w);
    w->sample.max_size = GIB(1);
}

static void back_off(struct world *w)
{
    w->state.back_off_until = w->now + 60 * USEC_PER_SEC;
    w->state.back_off_size = w->sample.size;
}

/* The back-off applies to the blocks that a shrink left plugged, not to blocks plugged later. */
static void set_back_off_grown(struct world *w)
{
    set_spare(w);
    back_off(w);
    w->state.back_off_size = MIB(8);
}

static void set_back_off(struct world *w)
{
    set_spare(w);
    back_off(w);
}

static void set_back_off_short(struct world *w)
{
    set_size(w, GIB(2));
    set_short(w);
    back_off(w);
}

static void set_host_asks_back_off(struct world *w)
{
    set_host_asks(w);
    back_off(w);
}

static void set_unplugging_short(struct world *w)
{
    set_size(w, GIB(2));
    w->sample.requested_size = GIB(1);
    set_short(w);
}

static void set_unplugging_in_flight(struct world *w)
{
    set_spare_unplugging(w);
    w->sample.in_flight = true;
}

static void set_spare_no_host(struct world *w)
{
    set_spare(w);
    w->sample.connected = false;
}

static void set_plugging_spare(struct world *w)
{
    set_spare(w);
    w->sample.requested_size = GIB(3);
}

static void set_small_step(struct world *w)
{
    set_size(w, MIB(128));
    set_available(w, MIB(330));
    w->state.trend.last_available = MIB(330);
}

static void set_own_min(struct world *w)
{
    set_spare(w);
    w->config.min_size = GIB(2);
}

static void set_host_asks_own_min(struct world *w)
{
    set_host_asks(w);
    w->config.min_size = GIB(2);
}

static void set_swap_in_use(struct world *w)
{
    set_spare(w);
    w->sample.meminfo.swap_total = GIB(4);
    w->sample.meminfo.swap_free = GIB(1);
    w->state.trend.last_available = 0;
}

static const struct situation situations[] = {
    { "spare, not settled", set_spare, DECIDE_HOLD, DECIDE_SETTLING, CHANNEL_LEVEL_SETTLING },
    { "spare, pressure", set_spare_under_pressure, DECIDE_HOLD, DECIDE_UNDER_PRESSURE,
            CHANNEL_LEVEL_SETTLING },
    { "spare, refaults", set_spare_refaults, DECIDE_HOLD, DECIDE_UNDER_PRESSURE, CHANNEL_LEVEL_SETTLING },
    { "unplug under way", set_spare_unplugging, DECIDE_HOLD, DECIDE_UNPLUGGING, CHANNEL_LEVEL_SETTLING },
    { "host asks", set_host_asks, DECIDE_SHRINK, DECIDE_HOST_ASKED, CHANNEL_LEVEL_SETTLING },
    { "host asks for memory in use", set_host_asks_in_use, DECIDE_HOLD, DECIDE_HOST_ASKED,
            CHANNEL_LEVEL_NORMAL },
    { "spare, reserved", set_reserved, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "max size lowered below the size", set_max_lowered, DECIDE_SHRINK, DECIDE_OVER_MAX,
            CHANNEL_LEVEL_SETTLING },
    { "spare, backing off", set_back_off, DECIDE_HOLD, DECIDE_BACK_OFF, CHANNEL_LEVEL_SETTLING },
    { "spare, plugged after the stuck step", set_back_off_grown, DECIDE_HOLD, DECIDE_SETTLING,
            CHANNEL_LEVEL_SETTLING },
    { "short, backing off", set_back_off_short, DECIDE_GROW, DECIDE_SHORT, CHANNEL_LEVEL_RISING },
    { "host asks, backing off", set_host_asks_back_off, DECIDE_HOLD, DECIDE_BACK_OFF,
            CHANNEL_LEVEL_SETTLING },
    { "short while unplugging", set_unplugging_short, DECIDE_GROW, DECIDE_SHORT, CHANNEL_LEVEL_RISING },
    { "unplugging, in flight", set_unplugging_in_flight, DECIDE_HOLD, DECIDE_IN_FLIGHT,
            CHANNEL_LEVEL_NORMAL },
    { "spare, no host", set_spare_no_host, DECIDE_HOLD, DECIDE_NO_HOST, CHANNEL_LEVEL_NORMAL },
    { "spare, plugging", set_plugging_spare, DECIDE_HOLD, DECIDE_PLUGGING, CHANNEL_LEVEL_RISING },
    { "spare, too little for a step", set_small_step, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "at own min size", set_own_min, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "host asks, own min size", set_host_asks_own_min, DECIDE_HOLD, DECIDE_HOST_ASKED,
            CHANNEL_LEVEL_NORMAL },
    { "used swap is demand", set_swap_in_use, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
    { "at min size", set_at_min, DECIDE_HOLD, DECIDE_ENOUGH, CHANNEL_LEVEL_NORMAL },
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

    return cmocka_run_group_tests_name("decide-spare", tests, NULL, NULL);
}
