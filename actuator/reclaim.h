/* SPDX-License-Identifier: MIT */
#pragma once

#include "actuator-limits.h"
#include "bytes.h"

/* Squeezing cold page cache out through the root cgroup's memory.reclaim. Pure: what may be asked and how
 * fast, in which pieces it is asked of the kernel, and what came of it.
 *
 * Anonymous memory must stay. Without swap it cannot go. With swap: Linux 6.9 and newer take swappiness=0;
 * older ones refuse that (EINVAL). Those leave anonymous memory alone while there is cold cache enough
 * (cache_trim_mode in mm/vmscan.c: more inactive than active file pages, and some of them at any scan
 * priority); beyond it they swapped 28 MiB out for 4 MiB asked (measured, 6.1). So there RECLAIM_CACHE_MIN
 * counts for the inactive pages alone, the pieces are small, the first fall of SwapFree ends it, and the next
 * call is RECLAIM_SWAP_PAUSE_USEC away. */

#define RECLAIM_CALL_MAX MIB(256)
/* A monitor that has been taken over can cool the cache no faster than this. */
#define RECLAIM_RATE MIB(64) /* a second; RECLAIM_CALL_MAX at once */
#define RECLAIM_TIME_USEC (2 * USEC_PER_SEC)
/* Measured: 64 MiB take 0.1 to 0.7 s, so a piece is over in 0.2 s; Linux 6.1 takes up to twice its size. */
#define RECLAIM_PIECE MIB(16)
#define RECLAIM_PIECE_SWAP MIB(4)
/* File pages that are left alone. What programs execute is among them: measured (6.12), without this a guest
 * without other cache gives up its programs' text again and again. Also four times the inactive pages that
 * the kernel wants to see at its first scan priority. */
#define RECLAIM_CACHE_MIN MIB(64)
#define RECLAIM_SWAP_PAUSE_USEC (60 * USEC_PER_SEC)

/* Whether a call may begin now. Zero-initialise: full. */
struct reclaim_gate {
    uint64_t used; /* of the RECLAIM_CALL_MAX that may be asked at once; refills with RECLAIM_RATE */
    uint64_t last;
    uint64_t pause_until; /* anonymous memory went to swap; 0: no pause */
};

/* -EINVAL with error and text when bytes is 0 or over RECLAIM_CALL_MAX. */
int reclaim_check(uint64_t bytes, const char **ret_error, char ret_text[static LIMITS_TEXT_MAX]);

/* Takes what the rate allows of bytes, at least a piece or all of them; *ret_bytes says how much. -EAGAIN
 * with error and text when nothing may be asked yet. now in µs. */
int reclaim_admit(struct reclaim_gate *g, uint64_t bytes, uint64_t now, uint64_t *ret_bytes,
        const char **ret_error, char ret_text[static LIMITS_TEXT_MAX]);

/* The root cgroup's memory.stat and the swap of /proc/meminfo, in bytes. */
struct reclaim_memory {
    uint64_t anon;
    uint64_t file;
    uint64_t active_file;
    uint64_t inactive_file;
    uint64_t slab; /* slab_reclaimable: goes together with the cache */
    uint64_t swap_total;
    uint64_t swap_free;
};

/* Sets the memory.stat part; -EBADMSG: one of them missing, double or no number; -ERANGE. */
int reclaim_stat_parse(const char *text, struct reclaim_memory *ret);

/* The outer world of a run. */
struct reclaim_io {
    int (*look)(struct reclaim_memory *ret, void *userdata);
    int (*ask)(const char *line, void *userdata);      /* writes to memory.reclaim; the write's -errno */
    uint64_t (*now)(void *userdata);                   /* µs, monotonic */
    bool (*go_on)(uint64_t reclaimed, void *userdata); /* hears of progress; false: stop */
    void *userdata;
};

enum reclaim_end {
    RECLAIM_DONE,    /* what was asked */
    RECLAIM_GONE,    /* the kernel finds no more (EAGAIN) */
    RECLAIM_SPARE,   /* the rest of the cache is to stay */
    RECLAIM_LATE,    /* the time is up */
    RECLAIM_SWAPPED, /* anonymous memory began to go */
    RECLAIM_STOPPED, /* go_on() said so, or a signal came */
    _RECLAIM_END_MAX,
    _RECLAIM_END_INVALID = -EINVAL,
};

struct reclaim_result {
    uint64_t reclaimed; /* by how much file and slab fell; others filling the cache meanwhile count against */
    uint64_t asked;     /* of the kernel */
    uint64_t swapped;
    enum reclaim_end end;
    bool no_swappiness; /* this kernel does not take swappiness=0 */
};

/* Reclaims until bytes are gone or something ends it (reclaim_end). no_swappiness: known from an earlier run.
 * Negative errno when memory.stat, meminfo or memory.reclaim cannot be used; *ret is filled even then. */
int reclaim_run(const struct reclaim_io *io, uint64_t bytes, bool no_swappiness, struct reclaim_result *ret);

/* What the gate learns from a run that ended. */
void reclaim_learn(struct reclaim_gate *g, const struct reclaim_result *result, uint64_t now);

const char *reclaim_end_to_string(enum reclaim_end e);
