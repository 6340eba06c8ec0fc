/* SPDX-License-Identifier: MIT */
#pragma once

#include "vm-state.h"

/* What a VM shows of itself, on the bus and in the metrics. */

/* The first that holds, in this order. */
enum vm_life {
    VM_LIFE_NO_QEMU,
    VM_LIFE_NO_NUMBERS, /* QEMU's answers make no sense, or have not come yet */
    VM_LIFE_MIGRATING,  /* the driver is answered BUSY until it is over */
    VM_LIFE_PAUSED,     /* QEMU does not run the guest */
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

struct vm_view {
    const char *name;  /* borrowed from the VM, as all texts here */
    const char *agent; /* empty: no guest has said hello */
    enum vm_life life;
    uint64_t size, requested_size, boot_size; /* bytes, 0 until QEMU has said them */
    uint64_t min_size, max_size;              /* in force */
    uint64_t block_size;                      /* of the devices, 0 until QEMU has said it */
    uint64_t device_max;                      /* what the devices can hold, 0 until QEMU has said it */
    uint32_t weight;
    struct vm_stats stats; /* time 0: the guest said nothing */
    uint64_t held;         /* QEMU's resident memory, 0: not known */
    pid_t process;         /* QEMU's, 0: not known; not from vm_state_view() */
    uint64_t paused_until; /* CLOCK_MONOTONIC µs, 0: not paused, USEC_FOREVER: until resumed */
    const char *pause_reason;
    unsigned pauses; /* how many there were */
    const struct vm_answer *last_grant, *last_refusal;
    const struct vm_counters *counters;
};

enum vm_life vm_state_life(const struct vm_state *s, uint64_t now);
/* s must outlive *ret. */
void vm_state_view(const struct vm_state *s, uint64_t now, struct vm_view *ret);
