/* SPDX-License-Identifier: MIT */
/* The kernel zones cannot take memory back from user pages, so when their room falls under half of the
 * reserve, the next memory block goes to one of them. The onlining policy holds for all blocks that come
 * online while it is in force: no other plug is sent before the block has arrived. */
#include "actuator-internal.h"
#include "room.h"
#include "service.h"

/* For the host's answer. */
#define ANSWER_USEC (2 * USEC_PER_SEC)
/* From the answer to the block: the guest plugs 128 MiB in some 20 ms, or not at all. */
#define ARRIVE_USEC (500 * USEC_PER_MSEC)
#define LOOK_USEC (50 * USEC_PER_MSEC)

static void end_block(struct actuator *a, const char *what)
{
    struct zoneinfo z = { 0 };
    uint64_t reserve = 0;

    (void)kernel_settings_read_zones(a->kernel, &z, &reserve);
    log_repeated(&a->kernel_block.end_log, now_usec(), LOG_INFO,
            "memory block for a kernel zone: %s; kernel room %s, reserve %s", what,
            FORMAT_BYTES(z.kernel_room), FORMAT_BYTES(reserve));
    a->kernel_block.deadline = 0;
    actuator_set_timer(a->kernel_timer, USEC_FOREVER);
    onlining_end_kernel(&a->onlining);
    actuator_keep_onlining(a, false);
}

static bool has_arrived(struct actuator *a)
{
    struct zoneinfo z;
    uint64_t reserve;

    return kernel_settings_read_zones(a->kernel, &z, &reserve) >= 0 &&
           z.kernel_managed > a->kernel_block.managed;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct actuator *a = userdata;
    uint64_t now = now_usec();

    if (a->kernel_block.deadline == 0)
        return 0;
    if (has_arrived(a))
        end_block(a, "online");
    else if (now >= a->kernel_block.deadline)
        end_block(a, "not online in time");
    else {
        actuator_set_timer(a->kernel_timer, now + LOOK_USEC);
        return 0;
    }
    actuator_send_next(a);
    return 0;
}

int actuator_kernel_block_start(struct actuator *a)
{
    int r = sd_event_add_time(a->event, &a->kernel_timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_timer, a);

    return r < 0 ? r : sd_event_source_set_enabled(a->kernel_timer, SD_EVENT_OFF);
}

void actuator_kernel_block_stop(struct actuator *a)
{
    if (a->kernel_block.deadline > 0)
        end_block(a, "the actuator ends");
    a->kernel_timer = sd_event_source_disable_unref(a->kernel_timer);
}

/* Plugged memory fills up the memory block that is plugged in part before it begins another one. */
static uint64_t block_target(const struct actuator *a, uint64_t target)
{
    uint64_t end, block = a->view.memory_block_size;

    if (bytes_round_up(MAX_OF(a->limits.size, a->limits.requested_size), block, &end) < 0 ||
            bytes_add(end, block, &end) < 0)
        return target;
    return MIN_OF(target, end);
}

uint64_t actuator_kernel_block_begin(struct actuator *a, const struct request *r, uint64_t target)
{
    struct zoneinfo z;
    uint64_t reserve;
    int e;

    /* Others than the monitor expect all of what they ask for. */
    if (r->verb != LIMITS_PLUG || r->origin != ACTUATOR_MONITOR ||
            kernel_settings_read_zones(a->kernel, &z, &reserve) < 0 || !room_kernel_is_low(&z, reserve))
        return target;
    e = onlining_begin_kernel(&a->onlining);
    if (e < 0) {
        log_debug("no memory block for a kernel zone: %s", strerror(-e));
        return target;
    }
    a->kernel_block.managed = z.kernel_managed;
    a->kernel_block.deadline = now_usec() + ANSWER_USEC;
    actuator_set_timer(a->kernel_timer, now_usec() + LOOK_USEC);
    log_repeated(&a->kernel_block.begin_log, now_usec(), LOG_NOTICE,
            "the kernel zones have %s room, less than half of their reserve of %s: plugging one memory "
            "block of %s for a kernel zone",
            FORMAT_BYTES(z.kernel_room), FORMAT_BYTES(reserve), FORMAT_BYTES(a->view.memory_block_size));
    return block_target(a, target);
}

void actuator_kernel_block_answered(struct actuator *a, bool granted)
{
    if (a->kernel_block.deadline == 0)
        return;
    if (granted)
        a->kernel_block.deadline = now_usec() + ARRIVE_USEC;
    else
        end_block(a, "not granted");
}

bool actuator_kernel_block_is_pending(const struct actuator *a)
{
    return a->kernel_block.deadline > 0;
}
