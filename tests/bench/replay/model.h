/* SPDX-License-Identifier: MIT */
#pragma once

#include "trace.h"
#include "zoneinfo.h"

/* Simulates a guest on a host with a clock of its own. A comment at its use states each assumption. */

#define MODEL_BLOCK MIB(2)
#define MODEL_MEMORY_BLOCK MIB(128)

struct model_options {
    uint64_t boot;
    uint64_t max; /* of the device */
    uint64_t plug_latency;
    uint64_t unplug_rate;
    uint32_t unplug_fail; /* percent */
    uint32_t kernel_part; /* percent of used memory */
    bool reserves;        /* the actuator makes the kernel keep a reserve in its zones */
    bool ballooned;       /* a balloon: no plug fails, and kernel memory may displace any other */
};

struct model_plug {
    uint64_t time;
    uint64_t size;
};
#define MODEL_PLUGS 64u

struct model {
    struct model_options options;
    uint64_t now;
    uint64_t random;

    uint64_t wanted; /* as recorded */
    uint64_t cached;
    uint64_t used; /* the part of wanted that does not wait at the guard's line */

    uint64_t guard_headroom; /* set by the decision; 0: the guard is disarmed */
    uint64_t line;           /* used may grow up to this */
    uint64_t next_plan;      /* when the line is computed again */
    bool at_line;            /* demand waits at the line */
    bool crossed;            /* demand has reached the line; the caller clears this */

    uint64_t size;
    uint64_t requested;
    bool asked; /* a request has no reply yet */
    uint64_t asked_size;
    uint64_t answer_time;
    struct model_plug plugs[MODEL_PLUGS]; /* granted, not yet plugged; in order */
    unsigned n_plugs;
    uint64_t retry_time;   /* when the host retries a failed plug; 0: none failed */
    uint64_t unplug_begun; /* 0: none */
    uint64_t unplug_from;
    uint64_t unplug_to;     /* the size at which the driver ends */
    uint64_t progress_time; /* when the size last fell */

    uint64_t total; /* MemTotal */
    uint64_t memmap;
    uint64_t low;     /* the watermarks of all zones */
    uint64_t reserve; /* lowmem_reserve in force */
    uint64_t cache;   /* the part of cached that is in memory */
    uint64_t gone;    /* reclaimed page cache; the guest never reads it again */
    uint64_t squeezing;
    uint64_t squeezed_time;
    uint64_t kernel_blocks; /* plugged into a kernel zone because the kernel had used its reserve */
    uint64_t movable_managed;
    uint64_t movable_user; /* anonymous memory and page cache, by zone */
    uint64_t kernel_user;
    uint64_t short_bytes; /* demand above the memory of the guest */

    uint64_t stall; /* PSI some total, µs */
    uint64_t refaults;
};

void model_init(struct model *m, const struct model_options *o);
/* Fills the state of a guest that has been running with this demand. The caller sets now before. */
void model_start(struct model *m, uint64_t wanted, uint64_t cached);
/* Advances by usec to this demand; usec is at most a few 10 ms, in which all changes count as linear. */
void model_advance(struct model *m, uint64_t usec, uint64_t wanted, uint64_t cached);
/* Requests a size of the device from the host. One request at a time. */
void model_request(struct model *m, uint64_t size);
void model_squeeze(struct model *m, uint64_t bytes);

uint64_t model_free(const struct model *m);
uint64_t model_available(const struct model *m);
uint64_t model_active_file(const struct model *m);
void model_zones(const struct model *m, struct zoneinfo *ret);

/* zones.c: recomputes the values that depend on the size alone. */
void model_follow_size(struct model *m);
/* zones.c: places the demand that does not wait, and page cache, in the zones. */
void model_place(struct model *m, uint64_t usec);
/* zones.c: returns the bytes of cold page cache. */
uint64_t model_cold_cache(const struct model *m);
/* zones.c: fills the zones for model_start(). */
void model_fill(struct model *m);

/* line.c: raises used memory to the demand, as far as the guard's line allows. */
void model_take_demand(struct model *m, uint64_t usec, uint64_t wanted);
/* Demand that waits at the line or, after a wait, is still behind the recording. */
uint64_t model_held(const struct model *m);
