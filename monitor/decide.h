/* SPDX-License-Identifier: MIT */
#pragma once

#include "bytes.h"
#include "channel.h"
#include "meminfo.h"
#include "pressure.h"
#include "trend.h"
#include "vmstat.h"
#include "zoneinfo.h"

/* The decision is pure: integers only (bytes, µs, permyriad), no clock, no I/O. */

/* The minimum headroom of a guest of any size. Measured: with 64 and 128 MiB the kernel killed bursts (page
 * tables and DMA32's watermark), with 192 MiB they survived. */
#define DECIDE_HEADROOM_MIN MIB(192)
/* Larger steps give memory back sooner with fewer resizes: over the recordings, steps of 2 GiB with a settle
 * time of 4.5 s cost 5 % fewer GiB·min than 512 MiB with 8 s, at as many resizes. A grow cancels the rest of
 * a step under way: the driver stops between two blocks. */
#define DECIDE_SHRINK_STEP_MAX MIB(2048)
#define DECIDE_INTERVAL_MIN_USEC (20 * USEC_PER_MSEC)
#define DECIDE_INTERVAL_MAX_USEC (4 * USEC_PER_SEC)
#define DECIDE_HISTORY 4u

/* The state keeps a peak of demand for each eighth of the settle time, over the longest settle time. */
#define DECIDE_PEAKS_PER_SETTLE 8u
#define DECIDE_PEAKS 136u

/* Sets the headroom and the settle time where the configuration has no numbers for them. */
enum decide_profile {
    DECIDE_CONSERVATIVE,
    DECIDE_BALANCED,
    DECIDE_EAGER, /* gives memory back early */
    _DECIDE_PROFILE_MAX,
    _DECIDE_PROFILE_INVALID = -EINVAL,
};

struct decide_config {
    enum decide_profile profile;
    uint64_t headroom;     /* 0: by profile and MemTotal */
    uint64_t min_size;     /* the monitor's own limits, inside the actuator's */
    uint64_t max_size;     /* UINT64_MAX: none */
    uint64_t settle_usec;  /* how long memory must be spare before a shrink */
    uint64_t fastest_rate; /* bytes per second that all processors together can touch; measured at start */
    uint64_t page_size;
};

/* The guest at one moment. The device's sizes come from the actuator. */
struct decide_sample {
    bool have_meminfo;
    struct meminfo meminfo;
    bool have_zones;
    struct zoneinfo zones;
    bool have_vmstat;
    struct vmstat vmstat;
    bool have_pressure;
    struct pressure pressure;
    bool pressure_fresh; /* read for this sample (the sampler reads it every 100 ms at most) */
    bool vmstat_fresh;
    bool event_early; /* a trigger fired since the last sample */
    bool event_hard;

    bool connected; /* to an actuator that has a device and a host */
    bool in_flight; /* the monitor's request has no reply yet */
    uint64_t size;
    uint64_t requested_size;
    uint64_t min_size;
    uint64_t max_size;
    uint64_t block_size;
    uint64_t memory_block_size;
    uint64_t shrink_to; /* size that the host asks for; UINT64_MAX: it does not ask */
    bool guard_armed;   /* the actuator's guard is armed */
    bool guard_held;    /* tasks wait at a memory.high line of the guard */
    bool unguarded;     /* user processes run in the root cgroup, which has no memory.high */
    uint64_t boot_size; /* boot memory; 0: unknown */
    bool reclaiming;    /* the monitor's Reclaim has no reply yet */
};

enum decide_action {
    DECIDE_HOLD,
    DECIDE_GROW,
    DECIDE_SHRINK,
    _DECIDE_ACTION_MAX,
    _DECIDE_ACTION_INVALID = -EINVAL,
};

enum decide_why {
    DECIDE_ENOUGH,        /* nothing to do */
    DECIDE_UNKNOWN_INPUT, /* meminfo unreadable or the clock went back */
    DECIDE_NO_HOST,
    DECIDE_IN_FLIGHT,
    DECIDE_PROJECTED_SHORT, /* grow: available will be below the headroom before a plug can be done */
    DECIDE_SHORT,           /* grow: available is below the headroom now */
    DECIDE_PRESSURE,        /* grow: pressure event with little available */
    DECIDE_KERNEL_FLOOR,    /* grow: user memory would take the kernel's reserve in the kernel zones */
    DECIDE_KERNEL_LOW, /* grow: the kernel has used up its reserve; the actuator adds a block to its zones */
    DECIDE_HELD,       /* grow: the guard holds tasks at a line, however much is available */
    DECIDE_STANDING,   /* grow: the kernel keeps a reserve only while these blocks are plugged */
    DECIDE_REFAULTS,   /* grow: pressure event, and the working set does not fit */
    DECIDE_PLUGGING,   /* short, and the pending memory suffices */
    DECIDE_AT_MAX,
    DECIDE_KERNEL_ZONES, /* short, and the kernel zones can hardly hold the memmap of a block: ask for one */
    DECIDE_REFUSED,      /* short, refused recently: wait before the next request */
    DECIDE_SPARE,        /* shrink */
    DECIDE_OVER_MAX,     /* shrink: the max size is below the size */
    DECIDE_HOST_ASKED,   /* shrink: the host asked for it */
    DECIDE_SQUEEZING,    /* reclaim cold page cache before the step that would have to reclaim it */
    DECIDE_SETTLING,     /* spare memory, but not for long enough */
    DECIDE_UNDER_PRESSURE, /* spare memory, but pressure or refaults are too high */
    DECIDE_UNPLUGGING,     /* a shrink is under way */
    DECIDE_BACK_OFF,       /* the last shrink got stuck or was refused */
    _DECIDE_WHY_MAX,
    _DECIDE_WHY_INVALID = -EINVAL,
};

struct decision {
    enum decide_action action;
    enum decide_why why;
    enum channel_level level;
    uint64_t bytes;     /* to plug or unplug; whole memory blocks if the limits allow */
    uint64_t wait_usec; /* sample again after this */
    /* The numbers behind the decision, for Explain and the log. */
    uint64_t available;
    uint64_t projected;
    uint64_t headroom;
    uint64_t rate;
    uint64_t round_trip;
    uint64_t spare;
    uint32_t pressure10;
    uint32_t pressure60;
    uint64_t refault_rate;
    bool decline;            /* the host asked for memory that is in use: decline */
    uint64_t guard_headroom; /* for ArmGuard; 0: disarm */
    uint64_t reclaim;        /* cold page cache to reclaim now; 0: none */
};

enum decide_outcome {
    DECIDE_GRANTED,
    DECIDE_REFUSED_HOST, /* no host memory, or device busy: ask again on `room` or after 1 s */
    DECIDE_REFUSED_RATE,
    DECIDE_REFUSED_LIMIT,
    DECIDE_UNANSWERED, /* timeout, or actuator or host disconnected */
    _DECIDE_OUTCOME_MAX,
    _DECIDE_OUTCOME_INVALID = -EINVAL,
};

struct decide_peak {
    uint64_t time; /* start of its slot; 0: unused */
    uint64_t demand;
};

struct decide_state {
    struct trend trend;
    uint64_t unreserved; /* free and reclaimable memory of the last sample */
    enum channel_level level;

    uint64_t round_trips[DECIDE_HISTORY]; /* from decision to plugged memory, of the last grows; 0: unused */
    uint32_t round_trip_next;
    uint64_t grow_asked; /* when; 0: no grow is waited for */
    uint64_t grow_total; /* MemTotal before it, plus what was pending */
    uint64_t last_grow;  /* when the last grow was decided */
    uint64_t grow_ended; /* when its memory was plugged */
    uint32_t streak;     /* consecutive grows */
    uint64_t burst_rate; /* the highest recent rate, decaying */
    uint64_t burst_time;
    uint64_t held_since;     /* tasks have waited at a line since then; 0: none wait */
    uint64_t held_last;      /* when tasks last waited */
    uint64_t plug_size;      /* the size at the last progress of a pending plug */
    uint64_t plug_moved;     /* time of that progress; 0: nothing is pending */
    uint64_t standing_until; /* the standing blocks were refused: do not ask before then */
    bool standing_asked;
    uint64_t standing_size; /* at the request for them: the size, and ZONE_MOVABLE's bytes */
    uint64_t standing_movable;
    uint64_t kernel_low_until; /* new blocks do not reach the kernel zones: do not ask before then */
    uint64_t kernel_low_usec;
    uint64_t kernel_low_managed; /* their bytes at the request for a block; 0: no request */

    uint64_t began;       /* time of the first sample */
    uint64_t last_shrink; /* when the last shrink was decided */
    bool shrinking;
    uint64_t shrink_from; /* the size before the shrink */
    uint64_t shrink_target;
    uint64_t shrink_leaves; /* available after the shrink if no task takes memory */
    uint64_t shrink_ended;
    uint32_t squeezes; /* reclaims before the step that is due */

    struct decide_peak peaks[DECIDE_PEAKS]; /* ring */
    uint32_t peak_last;
    uint64_t settle_usec; /* in force; doubled by a flap */
    uint64_t settle_since;
    uint64_t halved;        /* when it was last halved, if no flap followed; else 0 */
    uint32_t halving_flaps; /* consecutive halvings that a flap followed soon */
    uint64_t trial_since;   /* when half the settle time would have given memory back; 0: never */
    uint64_t trial_peak;
    uint64_t small_step_time; /* time of the last small step; 0: none, or a grow followed */
    uint32_t small_step_flaps;
    uint64_t back_off_usec;
    uint64_t back_off_until;
    uint64_t back_off_size; /* the size may shrink to this meanwhile */

    uint64_t refused_until;
    enum decide_outcome refused;
};

void decide_init(struct decide_state *s, const struct decide_config *c);

/* The settle time of a profile, µs. */
uint64_t decide_profile_settle(enum decide_profile p);

/* The headroom (bytes) for a guest with this MemTotal. */
uint64_t decide_headroom(const struct decide_config *c, uint64_t total);

/* Makes one decision. now: µs, monotonic, > 0. */
void decide_step(const struct decide_config *c, struct decide_state *s, const struct decide_sample *p,
        uint64_t now, struct decision *ret);

/* Takes the result of the last request. */
void decide_result(
        struct decide_state *s, enum decide_action action, enum decide_outcome outcome, uint64_t now);

/* The host has room again: ends the wait after a refusal. */
void decide_room(struct decide_state *s);

/* Indexed by enum decide_profile, NULL-terminated; for configurations. */
extern const char *const decide_profile_names[];
const char *decide_action_to_string(enum decide_action a);
const char *decide_why_to_string(enum decide_why w);
/* The reason as a sentence, for users. */
const char *decide_why_text(enum decide_why w);
