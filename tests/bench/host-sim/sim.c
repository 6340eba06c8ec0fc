/* SPDX-License-Identifier: MIT */
#include "sim.h"

#include <glib.h>

static struct vm_settings settings_of(unsigned i)
{
    struct vm_settings s = {
        .n_devices = 1,
        .max_size = UINT64_MAX,
        /* One of four counts twice. */
        .weight = i % 4 == 0 ? 2 * SHARE_WEIGHT_DEFAULT : SHARE_WEIGHT_DEFAULT,
        .request_rate = 10,
        .request_burst = 20,
        .progress_usec = 5 * USEC_PER_SEC,
        .stuck_usec = 30 * USEC_PER_SEC,
    };

    (void)snprintf(s.name, sizeof(s.name), "vm%u", i);
    (void)snprintf(s.device[0], sizeof(s.device[0]), "vm0");
    return s;
}

static uint64_t peak_of(const struct trace *t)
{
    uint64_t peak = 0;

    for (size_t i = 0; i < t->n_rows; i++)
        peak = MAX_OF(peak, t->rows[i].used);
    return peak;
}

/* The host's numbers: what a VM has, its QEMU has touched. */
static struct balance_host numbers(const struct sim *s)
{
    struct balance_host h = { .numbers = { .known = true, .reserve = s->options->reserve },
        .total = s->memory };
    uint64_t held = 0;

    for (unsigned i = 0; i < s->options->n_vms; i++) {
        held += SIM_BOOT + s->vms[i].device.size;
        h.numbers.promised += sub_floor(vm_state_committed(&s->vms[i].state), s->vms[i].device.size);
    }
    h.numbers.available = sub_floor(s->memory, held);
    return h;
}

static void read_shares(struct sim *s)
{
    for (unsigned i = 0; i < s->options->n_vms; i++)
        vm_state_share(&s->vms[i].state, s->now, &s->shares[i]);
}

static void answer_budget(struct sim_vm *vm)
{
    struct sim *s = vm->sim;
    struct balance_host h = numbers(s);

    if (s->policy == SIM_VMTIDE) {
        read_shares(s);
        h.numbers.held = balance_held(&h, s->shares, s->options->n_vms, (size_t)(vm - s->vms));
    }
    vm_state_budget(&vm->state, &h.numbers, s->now);
}

static void act(struct sim_vm *vm, const struct vm_action *a)
{
    switch (a->type) {
    case VM_ACTION_SEND:
        guest_hears(vm, &a->message);
        return;
    case VM_ACTION_SET:
        vm->device.requested_size = vm->device.size = a->bytes;
        vm_state_set_done(&vm->state, true, vm->sim->now);
        return;
    case VM_ACTION_QUERY_DEVICES:
        vm_state_devices(&vm->state, &vm->device, 0, vm->sim->now);
        return;
    case VM_ACTION_QUERY_SUMMARY:
        vm_state_summary(&vm->state, SIM_BOOT, vm->sim->now);
        return;
    case VM_ACTION_BUDGET:
        answer_budget(vm);
        return;
    case VM_ACTION_NOTE:
        vm->sim->notes[a->note.type]++;
        return;
    case VM_ACTION_RECONNECT: /* no channel of the simulation is deaf */
    case _VM_ACTION_MAX:
    case _VM_ACTION_INVALID:
        return;
    }
}

static void drain(struct sim_vm *vm)
{
    for (unsigned i = 0; i < vm->state.actions->len; i++) {
        struct vm_action a = g_array_index(vm->state.actions, struct vm_action, i);

        act(vm, &a);
    }
    g_array_set_size(vm->state.actions, 0);
}

static void begin(struct sim *s)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(SIM_SEED);
    uint64_t spread = trace_duration(s->options->trace) / 100 * s->options->spread_percent;
    uint64_t peak = peak_of(s->options->trace), weights = 0;

    s->memory = (s->options->n_vms * peak) / 100 * s->options->memory_percent + s->options->reserve;
    s->least_left = UINT64_MAX;
    for (unsigned i = 0; i < s->options->n_vms; i++)
        weights += settings_of(i).weight;
    for (unsigned i = 0; i < s->options->n_vms; i++) {
        struct sim_vm *vm = &s->vms[i];
        struct vm_settings settings = settings_of(i);
        uint64_t part = (s->memory - s->options->reserve) / weights * settings.weight;

        vm->sim = s;
        vm->device = (struct device_numbers){ .block_size = MIB(2),
            .max_size = bytes_round_down(peak + GIB(2), SIM_MEMORY_BLOCK) };
        vm->guest.start = (uint64_t)(g_rand_double(random) * (double)spread);
        vm_state_init(&vm->state, &settings, s->now);
        if (s->policy == SIM_FIXED) {
            vm->device.size = vm->device.requested_size = sub_floor(part, SIM_BOOT);
            continue;
        }
        vm_state_qmp_up(&vm->state, s->now);
        drain(vm);
        guest_begin(vm);
        drain(vm);
    }
}

/* As the daemon does each second while somebody lacks memory. */
static void look(struct sim *s)
{
    struct balance_host h = numbers(s);

    read_shares(s);
    share_ask(s->shares, s->options->n_vms, balance_wanted(&h, s->shares, s->options->n_vms), s->ask);
    for (unsigned i = 0; i < s->options->n_vms; i++)
        if (s->ask[i] > 0) {
            (void)vm_state_ask_spare(&s->vms[i].state, s->ask[i], s->now);
            drain(&s->vms[i]);
        }
}

/* The recording, from each guest's start on, and from the beginning again at its end. */
static void set_demand(struct sim *s, struct sim_vm *vm, uint64_t time)
{
    const struct trace *t = s->options->trace;
    uint64_t cached;
    size_t cursor = 0;

    trace_at(t, &cursor, (vm->guest.start + time) % (trace_duration(t) + 1), &vm->guest.used, &cached);
}

static void count(struct sim *s)
{
    struct balance_host h = numbers(s);
    uint64_t owed = h.numbers.promised + h.numbers.reserve;
    double sum = 0, squares = 0;
    unsigned lacking = 0;

    s->ticks++;
    if (h.numbers.available < owed)
        s->ticks_over++;
    s->least_left = MIN_OF(s->least_left, sub_floor(h.numbers.available, owed));
    for (unsigned i = 0; i < s->options->n_vms; i++) {
        const struct sim_vm *vm = &s->vms[i];
        double x = (double)vm->device.size / vm->state.settings.weight;

        s->vms[i].ticks_ok += guest_is_ok(vm);
        if (guest_is_ok(vm) && !vm->guest.waiting)
            continue;
        lacking++;
        sum += x;
        squares += x * x;
    }
    if (lacking < 2 || squares == 0)
        return;
    s->ticks_scarce++;
    s->fairness += sum * sum / (lacking * squares);
}

/* In another order each second: none is first by its number. */
static void tick(struct sim *s, unsigned number)
{
    unsigned n = s->options->n_vms;

    for (unsigned k = 0; k < n; k++) {
        struct sim_vm *vm = &s->vms[(k * 7919ull + number * 104729ull) % n];

        set_demand(s, vm, s->now);
        if (s->policy == SIM_FIXED)
            continue;
        guest_tick(vm);
        drain(vm);
        if (s->now >= vm_state_deadline(&vm->state))
            vm_state_timer(&vm->state, s->now);
        drain(vm);
    }
    if (s->policy == SIM_VMTIDE)
        look(s);
    count(s);
}

void sim_run(struct sim *s, const struct sim_options *options, enum sim_policy policy)
{
    uint64_t duration = trace_duration(options->trace);

    *s = (struct sim){ .options = options, .policy = policy, .now = SIM_TICK };
    s->vms = g_new0(struct sim_vm, options->n_vms);
    s->shares = g_new0(struct share_vm, options->n_vms);
    s->ask = g_new0(uint64_t, options->n_vms);
    begin(s);
    for (unsigned i = 0; s->now < duration; i++, s->now += SIM_TICK)
        tick(s, i);
}

void sim_clear(struct sim *s)
{
    for (unsigned i = 0; i < s->options->n_vms; i++)
        vm_state_clear(&s->vms[i].state);
    g_free(s->vms);
    g_free(s->shares);
    g_free(s->ask);
}
