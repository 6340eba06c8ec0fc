/* SPDX-License-Identifier: MIT */
#pragma once

#include "unit.h"

#include "bytes.h"
#include "vm-state.h"

#define SENT_MAX 256u
#define SECOND USEC_PER_SEC

/* A VM with a QEMU and a host whose answers the test gives, or which answer by themselves. */
struct world {
    struct vm_state s;
    uint64_t now;
    struct grant_host host;
    struct device_numbers qemu[DEVICES_MAX]; /* QEMU's own */
    bool qemu_answers;                       /* qom-set at once */
    bool query_held;                         /* no answer to a query, the test gives it */
    bool guest_follows;                      /* the size is the requested size at once */

    struct channel_message sent[SENT_MAX]; /* since world_forget() */
    unsigned n_sent;
    unsigned n_queries;
    unsigned n_budgets;
    unsigned n_reconnects;
    unsigned notes[_VM_NOTE_MAX];
    struct vm_note last_note;
    bool set_open; /* a qom-set without an answer yet */
    unsigned set_device;
    uint64_t set_bytes;
    unsigned n_sets;
};

void world_answer_set(struct world *w, bool ok);
/* As vm.c does, without a bus or a socket. */
void world_drain(struct world *w);
void world_forget(struct world *w);
void world_say(struct world *w, const struct channel_message *m);
/* Turns the clock to each deadline on the way. */
void world_run(struct world *w, uint64_t usec);
/* The same with a guest that shows that it is there. */
void world_run_alive(struct world *w, uint64_t usec);
void world_init(struct world *w, unsigned n_devices);
void world_hello(struct world *w);
void world_resize(struct world *w, uint64_t id, uint64_t size);
void world_qmp_up(struct world *w);
void world_qmp_down(struct world *w);
/* Both sides are connected, the guest has not said anything. */
void world_connect(struct world *w, unsigned n_devices);
/* Both sides there, nothing plugged. */
void world_start(struct world *w, unsigned n_devices);
void world_end(struct world *w);
const struct channel_message *world_sent(const struct world *w, enum channel_op op, unsigned skip);
unsigned world_count_sent(const struct world *w, enum channel_op op);
void world_assert_refused(const struct world *w, uint64_t id, enum channel_code code);
