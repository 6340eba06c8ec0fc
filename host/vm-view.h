/* SPDX-License-Identifier: MIT */
#pragma once

#include "vm-state.h"

/* What a VM shows of itself, on the bus and in the metrics. */

/* The first that holds, in this order. */
enum vm_life {
    VM_LIFE_NO_QEMU,
    VM_LIFE_NO_NUMBERS, /* QEMU's answers make no sense, or have not come yet */
    VM_LIFE_PAUSED,     /* QEMU does not run the guest */
    VM_LIFE_MIGRATING,  /* the driver is answered BUSY until it is over */
    VM_LIFE_OVER_HELD,  /* QEMU holds more than boot memory and size */
    VM_LIFE_RESETTING,  /* the guest has not said hello since its reset */
    VM_LIFE_NO_GUEST,
    VM_LIFE_STUCK,
    VM_LIFE_PLUGGING,
    VM_LIFE_UNPLUGGING,
    VM_LIFE_IDLE,
    _VM_LIFE_MAX,
    _VM_LIFE_INVALID = -EINVAL,
};
const char *vm_life_to_string(enum vm_life l);

struct vm_counters {
    uint64_t grants; /* of the guest's requests */
    uint64_t refusals[_CHANNEL_CODE_MAX];
    uint64_t stalls;   /* no progress for the progress time-out: set again */
    uint64_t unstuck;  /* stuck shrinks that were ended */
    uint64_t shrinks;  /* the guest was asked to give back */
    uint64_t declined; /* … and would not */
    uint64_t bad_lines;
    uint64_t qemu_lost; /* connections */
};

struct vm_view {
    const char *name;  /* borrowed from the VM, as all texts here */
    const char *agent; /* empty: no guest has said hello */
    enum vm_life life;
    uint64_t size, requested_size, boot_size; /* bytes, 0 until QEMU has said them */
    uint64_t min_size, max_size;              /* in force */
    uint32_t weight;
    struct vm_stats stats; /* time 0: the guest said nothing */
    uint64_t held;         /* QEMU's resident memory, 0: not known */
    pid_t process;         /* QEMU's, 0: not known */
    uint64_t paused_until; /* CLOCK_MONOTONIC µs, 0: not paused, USEC_FOREVER: until resumed */
    const char *pause_reason;
    const struct vm_answer *last_grant, *last_refusal;
    const struct vm_counters *counters;
};
