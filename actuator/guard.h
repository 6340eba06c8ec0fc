/* SPDX-License-Identifier: MIT */
#pragma once

#include "room.h"

/* Where the memory.high line of each top-level cgroup is to stand, pure: no clock, no file. All sizes are
 * bytes. */

/* More top-level cgroups than a machine has (systemd makes some 15, lxc two for each container). */
#define GUARD_CGROUPS_MAX 64u
#define GUARD_NAME_MAX 255u
/* A line that is not there: memory.high reads "max". */
#define GUARD_NO_LINE UINT64_MAX

/* Free memory that no line may promise. Measured with bursts of 3.5 GB: 64 and 128 MiB were killed (page
 * tables, DMA32 at its min watermark), 192 MiB survived. */
#define GUARD_HEADROOM_MIN MIB(192)
/* What a processor can touch in a second: measured 1 to 1.5 GiB on current machines. */
#define GUARD_CPU_RATE MIB(1536)
/* Between two looks while something goes on. */
#define GUARD_LOOK_MIN_USEC (20 * USEC_PER_MSEC)
#define GUARD_LOOK_MAX_USEC (50 * USEC_PER_MSEC)

struct guard_cgroup_sample {
    uint64_t usage;
    uint64_t clean; /* page cache of it that can be dropped at once; 0 when not known */
    uint64_t line;  /* as it stands; GUARD_NO_LINE: none */
    uint64_t limit; /* the administrator's, which no line exceeds; GUARD_NO_LINE: none */
    bool breached;  /* its line was crossed, not long ago */
    uint64_t grown; /* usage since the last look */
};

struct guard_sample {
    uint64_t total;
    uint64_t free;
    uint64_t available;
    bool have_zones;
    struct zoneinfo zones;
    uint32_t cpus;
    uint64_t headroom; /* asked for */
    uint64_t leaving;  /* that is being unplugged: free, but soon gone */
    size_t n;
    struct guard_cgroup_sample cgroups[GUARD_CGROUPS_MAX];
};

/* In what way the lines hold. */
enum guard_mode {
    GUARD_OPEN,    /* free memory above the headroom is shared out */
    GUARD_LIFTED,  /* the breach is page cache: room to stream, and an eye on what is available */
    GUARD_HOLDING, /* little is available: no growth but into free memory, clean cache makes room for the
                    * headroom
                    */
    _GUARD_MODE_MAX,
    _GUARD_MODE_INVALID = -EINVAL,
};

struct guard_plan {
    enum guard_mode mode;
    uint64_t headroom; /* in force */
    uint64_t grow;     /* what the cgroups may grow by together */
    uint64_t lines[GUARD_CGROUPS_MAX];
    bool write[GUARD_CGROUPS_MAX]; /* the line has moved far enough to be written */
    bool held[GUARD_CGROUPS_MAX];  /* tasks wait at this line: nothing is left for it to grow into */
    bool any_held;
    uint64_t look_usec; /* look again after this; USEC_FOREVER: when something happens */
};

/* The headroom in force: what was asked for, never less than GUARD_HEADROOM_MIN, and more with memory and
 * processors as the overrun past a line has more; but at most a third more than was asked for, which is all
 * that the monitor itself keeps ready: beyond that, lines would throttle a guest that it holds for well
 * supplied. */
uint64_t guard_headroom(uint64_t asked, uint64_t total, uint32_t cpus);

void guard_plan(const struct guard_sample *s, struct guard_plan *ret);

/* A name that a directory may have, without the dot of "." and "..". */
bool guard_cgroup_name_is_valid(const char *name);

const char *guard_mode_to_string(enum guard_mode mode);
