/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>

#include "channel.h"
#include "device.h"
#include "grant.h"
#include "ratelimit.h"
#include "share.h"

/* One VM as a pure state machine: what happened goes in, what is to be done comes out as actions. It has no
 * clock (now in µs comes with each input), no fd and no log. vm.c carries the actions out and feeds back what
 * came of them.
 *
 * One truth: what QEMU says. The guest asks; a request waits in a queue until it is decided by
 * grant_decide(), sets the requested size of one device after the other, and is answered after QEMU's last
 * answer. */

/* A guest asks one thing at a time; more than these at once is refused busy. */
#define VM_QUEUE_MAX 16u

struct vm_settings {
    char name[64];
    char device[DEVICES_MAX][DEVICE_ID_MAX];
    unsigned n_devices;
    uint64_t min_size;
    uint64_t max_size;     /* UINT64_MAX: what the devices can hold */
    uint32_t weight;       /* beside other VMs, when there is not enough */
    uint32_t request_rate; /* resize a second */
    uint32_t request_burst;
    uint64_t progress_usec; /* without progress for this long: set the same requested size again */
    uint64_t stuck_usec;    /* a shrink without progress for this long is ended */
    uint64_t held_slack;    /* bytes that QEMU may hold beside boot memory and size */
};

enum vm_origin {
    VM_ORIGIN_GUEST,     /* a resize, which is answered */
    VM_ORIGIN_FORGOTTEN, /* a resize of a guest that has left or begun anew since */
    VM_ORIGIN_MIN,       /* the host raises the VM to its min size */
    VM_ORIGIN_KICK,      /* the same size again */
    VM_ORIGIN_UNSTICK,   /* a stuck shrink is ended */
    _VM_ORIGIN_MAX,
    _VM_ORIGIN_INVALID = -EINVAL,
};

struct vm_request {
    enum vm_origin origin;
    uint64_t id;
    uint64_t size;
    uint64_t since;
    char reason[128];
};

/* Worth a line in the log. */
enum vm_note_type {
    VM_NOTE_KNOWN,   /* QEMU's numbers are known (again) */
    VM_NOTE_HELLO,   /* text: the guest's agent */
    VM_NOTE_VERSION, /* usec: the version that the guest speaks */
    VM_NOTE_SILENT,  /* nothing heard for usec */
    VM_NOTE_RESET,
    VM_NOTE_GRANTED, /* wanted, was → requested, host, usec: from the request to QEMU's answer; text: reason
                      */
    VM_NOTE_REFUSED, /* wanted, code, text, host */
    VM_NOTE_SET_FAILED, /* text: device; wanted: the value */
    VM_NOTE_KICK,       /* usec without progress */
    VM_NOTE_UNSTUCK,    /* usec without progress; was → requested */
    VM_NOTE_FOREIGN,    /* requested size changed by somebody else: was → requested */
    VM_NOTE_COMPLETE,   /* the size is the requested size, usec after the change began */
    VM_NOTE_ASK_SHRINK, /* wanted, text: reason */
    VM_NOTE_DECLINED,   /* wanted, code */
    VM_NOTE_ROOM,       /* host */
    VM_NOTE_STOPPED,    /* QEMU does not run the guest */
    VM_NOTE_RUNS,       /* it does again */
    VM_NOTE_MIGRATING,
    VM_NOTE_MIGRATED,  /* … is over, or was given up */
    VM_NOTE_OVER_HELD, /* wanted: what QEMU holds; was: boot memory and what it was granted */
    VM_NOTE_HELD_WELL, /* it does not any more */
    VM_NOTE_PAUSED,    /* usec: for how long, USEC_FOREVER: until resumed; text: why */
    VM_NOTE_RESUMED,
    _VM_NOTE_MAX,
    _VM_NOTE_INVALID = -EINVAL,
};

struct vm_note {
    enum vm_note_type type;
    uint64_t wanted;
    uint64_t was;
    uint64_t size; /* as they are now, in every note */
    uint64_t requested;
    uint64_t usec;
    enum channel_code code;
    enum vm_origin origin;
    struct grant_host host;
    char text[256];
};

enum vm_action_type {
    VM_ACTION_SEND,          /* message to the guest */
    VM_ACTION_SET,           /* qom-set requested-size of device to bytes; answer by vm_state_set_done() */
    VM_ACTION_QUERY_DEVICES, /* answer by vm_state_devices() or vm_state_query_failed() */
    VM_ACTION_QUERY_SUMMARY, /* answer by vm_state_summary() or vm_state_query_failed() */
    VM_ACTION_BUDGET,        /* answer by vm_state_budget() */
    VM_ACTION_RECONNECT,     /* to the guest, where the host is the one that connects */
    VM_ACTION_NOTE,
    _VM_ACTION_MAX,
    _VM_ACTION_INVALID = -EINVAL,
};

struct vm_action {
    enum vm_action_type type;
    unsigned device;
    uint64_t bytes;
    union {
        struct channel_message message;
        struct vm_note note;
    };
};

/* A change of requested sizes on its way, one device at a time. */
struct vm_job {
    bool active;
    struct vm_request request;
    struct grant_host host; /* the numbers that it was decided on */
    uint64_t targets[DEVICES_MAX];
    unsigned at; /* the device whose answer is awaited */
    uint64_t was;
    uint64_t idle; /* how long the size had not moved when the job began */
};

/* Following the size until it is the requested size. */
struct vm_follow {
    bool active;
    uint64_t begin;
    uint64_t progress; /* when the size last moved */
    uint64_t query_at;
    uint64_t act_at; /* when to kick, or to end a stuck shrink */
    uint64_t kick_delay;
};

/* What the guest last said about itself; believed only so far that it is asked to give back, or waits less.
 */
struct vm_stats {
    uint64_t available;
    uint64_t total;
    uint64_t some10; /* permyriad */
    enum channel_level level;
    uint64_t time; /* 0: it said nothing */
};

/* The last grant, or the last refusal. */
struct vm_answer {
    uint64_t time; /* 0: never */
    uint64_t size; /* the requested size that was granted, or asked for */
    enum channel_code code;
    char text[256]; /* the guest's reason, or why not */
};

/* Since the daemon began. */
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

/* What else there is to know of it: vm-life.c. */
struct vm_life_state {
    bool stopped; /* QEMU does not run the guest */
    bool migrating;
    bool over_held;
    uint64_t held;         /* QEMU's resident memory, bytes; 0: not known */
    uint64_t over_since;   /* 0: it is not over */
    uint64_t reset_at;     /* 0: the guest has said hello since */
    uint64_t paused_until; /* 0: not paused; USEC_FOREVER: until resumed */
    char pause_reason[128];
    unsigned pauses; /* how many there were */
    char agent[64];  /* what the guest said hello as */
    struct vm_answer last_grant;
    struct vm_answer last_refusal;
    struct vm_counters counters;
};

struct vm_state {
    struct vm_settings settings;
    GArray *actions; /* of struct vm_action, in order; vm.c takes them out */

    /* QEMU */
    bool qmp_up;
    bool boot_known;
    bool known;         /* boot_size and devices[] are QEMU's last word, and a sane one */
    uint64_t boot_size; /* bytes that the VM has without our devices */
    uint64_t base_size;
    struct device_numbers devices[DEVICES_MAX];
    uint64_t asked[DEVICES_MAX]; /* set, and not yet heard what came of it; 0: nothing */
    bool querying;
    bool set_since; /* a requested size was set since the query that is on its way */
    bool outrun;    /* … and that was answered first: the query's answer is from before it */
    uint64_t resync_at;
    uint64_t resync_delay;

    /* guest */
    bool guest_up; /* its socket is connected */
    bool greeted;  /* it said hello since then */
    bool welcomed;
    uint64_t heard;
    uint64_t ping_at;
    unsigned pings; /* unanswered */
    uint64_t last_id;
    bool who_wanted;       /* it spoke before its hello */
    uint64_t who_at;       /* not before: one who answers many lines */
    uint64_t reconnect_at; /* USEC_FOREVER: it is heard, or that was tried often enough */
    unsigned reconnects;   /* since it was last heard */
    uint64_t told_size;
    uint64_t told_requested;
    bool tell_again; /* the sizes, with the next stats */
    uint64_t told_max;
    uint64_t told_min;
    struct vm_stats stats;

    /* requests */
    struct bucket bucket;
    struct vm_request queue[VM_QUEUE_MAX];
    unsigned queue_first;
    unsigned queue_len;
    bool budget_pending;
    struct vm_job job;
    uint64_t min_retry_at;

    /* waiting for room */
    bool waiting_memory;
    uint64_t waiting_since;
    uint64_t waiting_bytes;
    uint64_t room_check_at;
    uint64_t room_rate_at; /* USEC_FOREVER: nobody waits for a token */

    /* among others */
    uint64_t claim;       /* bytes that were refused for want of memory */
    uint64_t claim_until; /* USEC_FOREVER: until there is room */
    bool spare_asked;     /* the guest is to give back what it does not need, and has not yet */
    uint64_t spare_given; /* when it did; 0: not, or long since */
    uint64_t spare_at;    /* not to be asked before */
    uint64_t spare_back_off;

    struct vm_follow follow;
    struct vm_life_state life;

    /* asked of the guest */
    uint64_t shrink_id; /* 0: nothing asked */
    uint64_t shrink_size;
    uint64_t shrink_at; /* when to ask again */
};

void vm_state_init(struct vm_state *s, const struct vm_settings *settings, uint64_t now);
void vm_state_clear(struct vm_state *s);
/* New limits, rates and time-outs; name and devices stay. */
void vm_state_configure(struct vm_state *s, const struct vm_settings *settings, uint64_t now);

/* Inputs from the guest's side. The message is one that a guest may send. */
void vm_state_guest_up(struct vm_state *s, uint64_t now);
void vm_state_guest_down(struct vm_state *s);
void vm_state_guest_message(struct vm_state *s, const struct channel_message *m, uint64_t now);
/* A line that is no message: half a line of an earlier connection may have eaten its hello. */
void vm_state_guest_noise(struct vm_state *s, uint64_t now);
/* Asks the guest to give back down to size (bytes). -ENOTCONN: no guest has said hello. */
int vm_state_ask_shrink(struct vm_state *s, uint64_t size, const char *reason);
/* The same for bytes that share_ask() wants of it; who declines, does not answer or needs the memory again
 * soon is asked less and less often. */
int vm_state_ask_spare(struct vm_state *s, uint64_t bytes, uint64_t now);
/* What it is among others. */
void vm_state_share(const struct vm_state *s, uint64_t now, struct share_vm *ret);

/* Inputs from QEMU's side. */
void vm_state_qmp_up(struct vm_state *s, uint64_t now);
void vm_state_qmp_down(struct vm_state *s, uint64_t now);
void vm_state_summary(struct vm_state *s, uint64_t base_size, uint64_t now);
void vm_state_devices(struct vm_state *s, const struct device_numbers *d, uint64_t other, uint64_t now);
void vm_state_query_failed(struct vm_state *s, uint64_t now);
void vm_state_set_done(struct vm_state *s, bool ok, uint64_t now);
void vm_state_size_event(struct vm_state *s, uint64_t now);
void vm_state_reset_event(struct vm_state *s, uint64_t now);
/* Whether QEMU runs the guest, and whether it is on its way to another host: nothing moves in between. */
void vm_state_stopped(struct vm_state *s, bool stopped, uint64_t now);
void vm_state_migrating(struct vm_state *s, bool migrating, uint64_t now);
/* QEMU's resident memory in bytes, 0: not known. One that stays over what the VM was granted gets no more. */
void vm_state_held(struct vm_state *s, uint64_t held, uint64_t now);

/* Inputs from an administrator. usec USEC_FOREVER: until vm_state_resume(). */
void vm_state_pause(struct vm_state *s, const char *why, uint64_t usec, uint64_t now);
void vm_state_resume(struct vm_state *s, uint64_t now);

void vm_state_budget(struct vm_state *s, const struct grant_host *host, uint64_t now);
void vm_state_timer(struct vm_state *s, uint64_t now);
/* A note has come out: counted, and remembered when it is an answer. */
void vm_state_noted(struct vm_state *s, const struct vm_note *note, uint64_t now);
/* When vm_state_timer() is due, USEC_FOREVER: an input must come first. */
uint64_t vm_state_deadline(const struct vm_state *s);

/* Bytes, all devices together. committed: what the host owes, a change on its way and one whose outcome is
 * not known included. */
uint64_t vm_state_size(const struct vm_state *s);
uint64_t vm_state_requested(const struct vm_state *s);
uint64_t vm_state_committed(const struct vm_state *s);
/* The limits in force: the configured ones within what the devices can hold. Only when known. */
struct grant_limits vm_state_limits(const struct vm_state *s);
