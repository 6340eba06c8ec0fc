/* SPDX-License-Identifier: MIT */
#pragma once

#include "balance.h"
#include "trace.h"
#include "vm-state.h"

/* A host with many VMs in its own time, in steps of a second. Each VM is the daemon's own state machine with
 * its own decisions of granting and sharing; QEMU takes each size, and the driver follows within the step. A
 * guest asks as the monitor does in outline: what is used and a headroom, at once upwards, after 8 s
 * downwards. */

#define SIM_TICK USEC_PER_SEC
#define SIM_BOOT GIB(1)
#define SIM_MEMORY_BLOCK MIB(128)
#define SIM_SETTLE 8u
/* Starts are at random, the same in each run. */
#define SIM_SEED 1u

enum sim_policy {
    SIM_VMTIDE,
    SIM_FIXED, /* the host's memory by weight, for ever */
    SIM_FCFS,  /* whoever asks first, as long as there is some; nothing is held or asked back */
    _SIM_POLICY_MAX,
    _SIM_POLICY_INVALID = -EINVAL,
};

struct sim_options {
    unsigned n_vms;
    unsigned memory_percent; /* of the sum of the peaks */
    unsigned spread_percent; /* of the recording's length, over which the starts are spread */
    uint64_t reserve;
    const struct trace *trace;
};

struct sim_guest {
    uint64_t start; /* into the recording, µs */
    uint64_t used;
    uint64_t wanted[SIM_SETTLE]; /* sizes of the device, of the last seconds */
    unsigned at;
    uint64_t next_id;
    bool waiting; /* refused for want of memory */
    uint64_t retry_at;
};

struct sim_vm {
    struct sim *sim;
    struct vm_state state;
    struct device_numbers device;
    struct sim_guest guest;
    uint64_t ticks_ok; /* it had what it used */
};

struct sim {
    const struct sim_options *options;
    enum sim_policy policy;
    uint64_t now;
    uint64_t memory;
    struct sim_vm *vms;
    struct share_vm *shares;
    uint64_t *ask;

    uint64_t ticks;
    uint64_t ticks_over; /* the host owed more than it has without its reserve */
    uint64_t least_left; /* beyond the reserve, bytes */
    uint64_t notes[_VM_NOTE_MAX];
    double fairness; /* sum over ticks with at least two that lack something */
    uint64_t ticks_scarce;
};

/* guest.c */
void guest_begin(struct sim_vm *vm);
void guest_tick(struct sim_vm *vm);
void guest_hears(struct sim_vm *vm, const struct channel_message *m);
/* The size of the device that used and the headroom need. */
uint64_t guest_wants(const struct sim_vm *vm);
/* What it uses is there. */
bool guest_is_ok(const struct sim_vm *vm);

/* sim.c */
void sim_run(struct sim *s, const struct sim_options *options, enum sim_policy policy);
void sim_clear(struct sim *s);
