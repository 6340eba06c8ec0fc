/* SPDX-License-Identifier: MIT */
#pragma once

#include "vm-state.h"

/* Between the files of the state machine. */

/* Actions. */
void vm_act(struct vm_state *s, enum vm_action_type type);
void vm_note(struct vm_state *s, const struct vm_note *note);
/* To a guest that has said hello; to others nothing is sent. */
void vm_tell(struct vm_state *s, const struct channel_message *m);

/* vm-guest.c */
void vm_guest_known(struct vm_state *s, uint64_t now); /* numbers have come: welcome, size, limits, shrink */
void vm_guest_timer(struct vm_state *s, uint64_t now);
uint64_t vm_guest_deadline(const struct vm_state *s);
void vm_guest_forget(struct vm_state *s);             /* it left or begins anew */
void vm_guest_runs(struct vm_state *s, uint64_t now); /* it is known that it does, from now on */

/* vm-life.c */
/* Why the requested size is to stay as it is, NULL: it may change. */
const char *vm_life_hold(const struct vm_state *s, char buf[static 256]);
bool vm_life_holds(const struct vm_state *s);
void vm_life_timer(struct vm_state *s, uint64_t now);
uint64_t vm_life_deadline(const struct vm_state *s);

/* vm-request.c */
void vm_request_push(struct vm_state *s, const struct channel_message *m, uint64_t now);
void vm_request_forget(struct vm_state *s); /* those of the guest */
void vm_request_fail_all(struct vm_state *s, uint64_t now);
void vm_request_pump(struct vm_state *s, uint64_t now); /* begins the next one, if it can */
void vm_request_timer(struct vm_state *s, uint64_t now);
uint64_t vm_request_deadline(const struct vm_state *s);

/* vm-share.c */
void vm_share_claim(struct vm_state *s, uint64_t missing); /* refused for want of memory: bytes */
void vm_share_told_room(struct vm_state *s, uint64_t now);
void vm_share_forget(struct vm_state *s);
void vm_share_declined(struct vm_state *s, uint64_t now);
void vm_share_moved(struct vm_state *s, uint64_t was, uint64_t requested, uint64_t now);

/* vm-job.c */
void vm_job_begin(struct vm_state *s, const struct vm_request *r, const struct grant_host *host,
        const uint64_t targets[], uint64_t now);
void vm_job_fail(struct vm_state *s, uint64_t now); /* QEMU is gone: its outcome is not known */
void vm_request_refuse(struct vm_state *s, const struct vm_request *r, enum channel_code code,
        const char *text, const struct grant_host *host);

/* vm-follow.c */
void vm_follow_begin(struct vm_state *s, uint64_t now);
void vm_follow_go_on(struct vm_state *s, uint64_t now); /* nothing could move until now */
void vm_follow_update(struct vm_state *s, bool moved, uint64_t now);
void vm_follow_timer(struct vm_state *s, uint64_t now);
uint64_t vm_follow_deadline(const struct vm_state *s);
void vm_query(struct vm_state *s); /* unless one is on its way */
