/* SPDX-License-Identifier: MIT */
#pragma once

#include "bytes.h"
#include "channel.h"
#include "meminfo.h"
#include "pressure.h"
#include "trend.h"
#include "vmstat.h"
#include "zoneinfo.h"

/* The decision, pure: integers only (bytes, µs, permyriad), no clock, no I/O. */

/* Available memory that a guest must keep whatever its size. Measured: with 64 and 128 MiB bursts were killed
 * (page tables and DMA32's watermark), with 192 MiB they survived. */
#define DECIDE_HEADROOM_MIN MIB(192)
/* More at once gives back sooner and resizes less: over the recordings steps of 2 GiB with a settle time
 * of 4.5 s cost 5 % fewer GiB·min than 512 MiB with 8 s, at as many resizes. What is on its way out is room
 * again as soon as the monitor asks for memory: the driver stops between two blocks. */
#define DECIDE_SHRINK_STEP_MAX MIB(2048)
#define DECIDE_INTERVAL_MIN_USEC (20 * USEC_PER_MSEC)
#define DECIDE_INTERVAL_MAX_USEC (4 * USEC_PER_SEC)
#define DECIDE_HISTORY 4u

/* Demand is remembered as peaks of an eighth of the settle time each, for as long as the longest settle time.
 */
#define DECIDE_PEAKS_PER_SETTLE 8u
#define DECIDE_PEAKS 136u

/* How much is kept ready and for how long, where the configuration does not say it in numbers. */
enum decide_profile {
    DECIDE_CONSERVATIVE,
    DECIDE_BALANCED,
    DECIDE_EAGER, /* to give back */
    _DECIDE_PROFILE_MAX,
    _DECIDE_PROFILE_INVALID = -EINVAL,
};

struct decide_config {
    enum decide_profile profile;
    uint64_t headroom;     /* 0: follows the guest's size */
    uint64_t min_size;     /* the monitor's own bounds, inside the actuator's */
    uint64_t max_size;     /* UINT64_MAX: none */
    uint64_t settle_usec;  /* how long it must be quiet before memory is given back */
    uint64_t fastest_rate; /* bytes a second that all processors together could touch; measured at start */
    uint64_t page_size;
};

/* What is known at one moment. Sizes of the device come from the actuator. */
struct decide_sample {
    bool have_meminfo;
    struct meminfo meminfo;
    bool have_zones;
    struct zoneinfo zones;
    bool have_vmstat;
    struct vmstat vmstat;
    bool have_pressure;
    struct pressure pressure;
    bool pressure_fresh; /* read for this sample (it is not read more often than every 100 ms) */
    bool vmstat_fresh;
    bool event_early; /* a trigger fired since the last sample */
    bool event_hard;

    bool connected; /* actuator there, and the host behind it */
    bool in_flight; /* a request of ours has no answer yet */
    uint64_t size;
    uint64_t requested_size;
    uint64_t min_size;
    uint64_t max_size;
    uint64_t block_size;
    uint64_t memory_block_size;
    uint64_t shrink_to; /* size the host asks us to come down to; UINT64_MAX: it does not */
    bool guard_armed;   /* the actuator's guard holds a surge at its lines */
    bool guard_held;    /* tasks wait at one of these lines now */
    bool unguarded;     /* processes run where no line stands: in the root cgroup */
    uint64_t boot_size; /* boot memory; 0: not known */
    bool reclaiming;    /* a Reclaim of ours has no answer yet */
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
    DECIDE_PROJECTED_SHORT, /* grow: available will be under the headroom before memory could be here */
    DECIDE_SHORT,           /* grow: it is under the headroom now */
    DECIDE_PRESSURE,        /* grow: pressure event with little available */
    DECIDE_KERNEL_FLOOR,    /* grow: what user memory takes would come out of the kernel zones' own part */
    DECIDE_KERNEL_LOW,      /* grow: the kernel has used up its own part; the actuator adds to its zones */
    DECIDE_HELD,            /* grow: the guard holds tasks at a line, whatever is available */
    DECIDE_STANDING,        /* grow: the blocks without which the kernel keeps no reserve */
    DECIDE_REFAULTS,        /* grow: pressure event with a working set that does not fit */
    DECIDE_PLUGGING,        /* short, and what is on its way will do */
    DECIDE_AT_MAX,
    DECIDE_KERNEL_ZONES, /* short, and the kernel zones can hardly pay the memmap of a block: one is asked */
    DECIDE_REFUSED,      /* short, refused a moment ago: waiting to ask again */
    DECIDE_SPARE,        /* shrink */
    DECIDE_OVER_MAX,     /* shrink: the max size was set under the size */
    DECIDE_HOST_ASKED,   /* shrink: the host asked for it */
    DECIDE_SQUEEZING,    /* cold page cache goes before the step that would have to reclaim it */
    DECIDE_SETTLING,     /* spare memory, not quiet for long enough */
    DECIDE_UNDER_PRESSURE, /* spare memory, pressure or refaults too high to give it back */
    DECIDE_UNPLUGGING,     /* a shrink is under way */
    DECIDE_BACK_OFF,       /* the last shrink got stuck or was refused */
    _DECIDE_WHY_MAX,
    _DECIDE_WHY_INVALID = -EINVAL,
};

struct decision {
    enum decide_action action;
    enum decide_why why;
    enum channel_level level;
    uint64_t bytes; /* to plug or unplug: a multiple of the memory block where bounds allow, else of the block
                     */
    uint64_t wait_usec; /* sample again after this */
    /* The numbers it was made from, for Explain and the log. */
    uint64_t available;
    uint64_t projected;
    uint64_t headroom;
    uint64_t rate;
    uint64_t round_trip;
    uint64_t spare;
    uint32_t pressure10;
    uint32_t pressure60;
    uint64_t refault_rate;
    bool decline;            /* the host asked for memory that is in use: say no */
    uint64_t guard_headroom; /* what the guard is to keep free; 0: disarm it */
    uint64_t reclaim;        /* cold page cache to squeeze now; 0: none */
};

enum decide_outcome {
    DECIDE_GRANTED,
    DECIDE_REFUSED_HOST, /* for want of host memory, or the device is busy: `room` or a second later */
    DECIDE_REFUSED_RATE,
    DECIDE_REFUSED_LIMIT,
    DECIDE_UNANSWERED, /* time-out, actuator or host gone */
    _DECIDE_OUTCOME_MAX,
    _DECIDE_OUTCOME_INVALID = -EINVAL,
};

struct decide_peak {
    uint64_t time; /* when it began; 0: none */
    uint64_t demand;
};

struct decide_state {
    struct trend trend;
    uint64_t reserved; /* of MemAvailable by the kernel, at the last sample */
    enum channel_level level;

    uint64_t round_trips[DECIDE_HISTORY]; /* decision to memory there, of the last grows; 0: none yet */
    uint32_t round_trip_next;
    uint64_t grow_asked; /* when; 0: none waited for */
    uint64_t grow_total; /* MemTotal before it, with what was pending then */
    uint64_t last_grow;  /* when the last grow was decided */
    uint64_t grow_ended; /* when its memory was there */
    uint32_t streak;     /* grows that followed each other */
    uint64_t burst_rate; /* the fastest of late, decaying */
    uint64_t burst_time;
    uint64_t held_since;     /* tasks have been held at a line since then; 0: none are */
    uint64_t held_last;      /* when they were last seen held */
    uint64_t plug_size;      /* the size when it grew last while a plug was pending */
    uint64_t plug_moved;     /* when; 0: nothing is pending */
    uint64_t standing_until; /* the standing blocks were refused: not asked again before */
    bool standing_asked;
    uint64_t standing_size; /* when they were asked for: the size, and what Movable had */
    uint64_t standing_movable;
    uint64_t kernel_low_until; /* blocks do not help the kernel zones: not asked again before */
    uint64_t kernel_low_usec;
    uint64_t kernel_low_managed; /* of the kernel zones when a block was asked for them; 0: none was */

    uint64_t began;       /* when the first sample came */
    uint64_t last_shrink; /* when the last shrink was decided */
    bool shrinking;
    uint64_t shrink_from; /* the size before it */
    uint64_t shrink_target;
    uint64_t shrink_leaves; /* available when it is done and nobody takes anything */
    uint64_t shrink_ended;
    uint32_t squeezes; /* before the step that is due */

    struct decide_peak peaks[DECIDE_PEAKS]; /* ring of what was in use */
    uint32_t peak_last;
    uint64_t settle_usec; /* now in force; doubles when it flaps */
    uint64_t settle_since;
    uint64_t halved;      /* when it was halved last, and nothing was missed since; 0: not */
    uint32_t relapses;    /* how often in a row something was missed soon after that */
    uint64_t trial_since; /* what half the settle time would have given back, on trial since; 0: nothing */
    uint64_t trial_peak;
    uint64_t crumbs_given; /* when; 0: nobody has asked since */
    uint32_t crumb_flaps;
    uint64_t back_off_usec;
    uint64_t back_off_until;
    uint64_t back_off_size; /* what is above it may go meanwhile */

    uint64_t refused_until;
    enum decide_outcome refused;
};

void decide_init(struct decide_state *s, const struct decide_config *c);

/* The settle time of a profile, µs. */
uint64_t decide_profile_settle(enum decide_profile p);

/* The headroom in force for a guest of this MemTotal. */
uint64_t decide_headroom(const struct decide_config *c, uint64_t total);

/* One step. now in µs, monotonic, > 0. */
void decide_step(const struct decide_config *c, struct decide_state *s, const struct decide_sample *p,
        uint64_t now, struct decision *ret);

/* What became of the last request. */
void decide_result(
        struct decide_state *s, enum decide_action action, enum decide_outcome outcome, uint64_t now);

/* The host has room again: ask now. */
void decide_room(struct decide_state *s);

/* By number, NULL at the end; for configurations. */
extern const char *const decide_profile_names[];
const char *decide_action_to_string(enum decide_action a);
const char *decide_why_to_string(enum decide_why w);
/* In words, for people. */
const char *decide_why_text(enum decide_why w);
