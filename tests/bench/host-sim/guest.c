/* SPDX-License-Identifier: MIT */
#include "sim.h"

/* As the monitor's balanced profile. */
#define HEADROOM_SHARE 32u
#define HEADROOM_MIN MIB(256)
#define HEADROOM_MAX MIB(768)
#define SLACK MIB(352)
#define STEP_MAX MIB(512)
#define STATS_TICKS 10u
/* A refused guest asks again when it hears of room, or after this. */
#define RETRY_USEC (10 * USEC_PER_SEC)

static uint64_t headroom(const struct sim_vm *vm)
{
    return CLAMP_TO((SIM_BOOT + vm->device.size) / HEADROOM_SHARE, HEADROOM_MIN, HEADROOM_MAX);
}

uint64_t guest_wants(const struct sim_vm *vm)
{
    uint64_t need = sub_floor(vm->guest.used + headroom(vm), SIM_BOOT), size;

    if (bytes_round_up(need, SIM_MEMORY_BLOCK, &size) < 0)
        size = vm->device.max_size;
    return MIN_OF(size, vm->device.max_size);
}

bool guest_is_ok(const struct sim_vm *vm)
{
    return vm->guest.used <= SIM_BOOT + vm->device.size;
}

static void say(struct sim_vm *vm, const struct channel_message *m)
{
    vm_state_guest_message(&vm->state, m, vm->sim->now);
}

static void ask(struct sim_vm *vm, uint64_t size)
{
    say(vm, &(struct channel_message){ .op = CHANNEL_RESIZE, .id = ++vm->guest.next_id, .size = size });
}

void guest_begin(struct sim_vm *vm)
{
    vm_state_guest_up(&vm->state, vm->sim->now);
    say(vm, &(struct channel_message){ .op = CHANNEL_HELLO,
                    .version = CHANNEL_VERSION,
                    .boot_size = SIM_BOOT,
                    .memory_block_size = SIM_MEMORY_BLOCK });
}

static void say_stats(struct sim_vm *vm)
{
    uint64_t total = SIM_BOOT + vm->device.size, available = sub_floor(total, vm->guest.used);

    say(vm, &(struct channel_message){ .op = CHANNEL_STATS,
                    .available = available,
                    .total = total,
                    .level = available < headroom(vm) / 4 ? CHANNEL_LEVEL_CRITICAL : CHANNEL_LEVEL_NORMAL });
}

/* The most that was wanted in the last seconds. */
static uint64_t most_wanted(const struct sim_vm *vm)
{
    uint64_t most = 0;

    for (unsigned i = 0; i < SIM_SETTLE; i++)
        most = MAX_OF(most, vm->guest.wanted[i]);
    return most;
}

void guest_tick(struct sim_vm *vm)
{
    struct sim_guest *g = &vm->guest;
    uint64_t wants = guest_wants(vm), requested = vm->device.requested_size, least;

    g->wanted[g->at++ % SIM_SETTLE] = wants;
    /* Its level has changed, or it is time. */
    if (wants > requested || g->at % STATS_TICKS == 0)
        say_stats(vm);
    if (wants > requested && (!g->waiting || vm->sim->now >= g->retry_at)) {
        g->retry_at = vm->sim->now + RETRY_USEC;
        ask(vm, wants);
        return;
    }
    least = MAX_OF(most_wanted(vm), sub_floor(requested, STEP_MAX));
    if (wants <= requested)
        g->waiting = false;
    if (most_wanted(vm) + SLACK < requested && least < requested)
        ask(vm, least);
}

/* Gives what it does not need; says so when that is nothing. */
static void on_shrink(struct sim_vm *vm, const struct channel_message *m)
{
    uint64_t least = MAX_OF(m->size, guest_wants(vm));

    if (least < vm->device.requested_size)
        ask(vm, least);
    else
        say(vm, &(struct channel_message){
                        .op = CHANNEL_DECLINED, .id = m->id, .code = CHANNEL_CODE_IN_USE });
}

void guest_hears(struct sim_vm *vm, const struct channel_message *m)
{
    if (m->op == CHANNEL_SHRINK)
        on_shrink(vm, m);
    else if (m->op == CHANNEL_REFUSED)
        vm->guest.waiting = true;
    else if (m->op == CHANNEL_ROOM)
        vm->guest.retry_at = vm->sim->now;
    else if (m->op == CHANNEL_GRANTED)
        vm->guest.waiting = false;
}
