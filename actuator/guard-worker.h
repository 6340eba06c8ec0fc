/* SPDX-License-Identifier: MIT */
#pragma once

#include "guard-switch.h"
#include "guard.h"

/* The thread that reads and writes the cgroups: a write of memory.high may wait for reclaim, which the event
 * loop must not. It waits for breaches and for other writers itself, and keeps the deadline, so the guard
 * ends by itself when the loop hangs. */
struct guard_worker;

struct guard_worker_options {
    const char *cgroup; /* "/sys/fs/cgroup" */
    const char *procfs;
    const char *saved; /* where the administrator's values are kept */
};

/* What is wanted of it; each order replaces the one before. */
struct guard_order {
    enum guard_off off; /* GUARD_ON: arm */
    uint64_t headroom;
    uint64_t until; /* µs; off by itself then */
    bool moved;     /* the size moves: look often for a while */
    uint64_t size;
    uint64_t requested_size;
};

/* What has become of it. */
struct guard_status {
    enum guard_off off; /* GUARD_ON: armed */
    int error;          /* of GUARD_OFF_FAULT, and where */
    char where[GUARD_NAME_MAX + 1];
    uint64_t headroom; /* in force; 0 when off */
    uint64_t free;     /* at the last look that changed anything here */
    uint64_t available;
    size_t n;        /* cgroups with a line */
    size_t left_out; /* and without one, of which there are too many */
    size_t lifted;   /* and whose line was lifted because of their pressure */
    uint64_t usage;  /* of them together */
    uint64_t lines;  /* the sum of theirs */
    bool breached;   /* one is, or was not long ago */
    bool held;       /* tasks wait at one now */
    uint64_t holds;  /* that have ended; of the last one: */
    uint64_t hold_usec;
    char hold_name[GUARD_NAME_MAX + 1];
    enum guard_mode mode;
    uint64_t breaches; /* of this episode */
};

/* Strings must outlive it. */
int guard_worker_new(const struct guard_worker_options *o, struct guard_worker **ret);
/* Writes the administrator's values back and waits for that. */
struct guard_worker *guard_worker_free(struct guard_worker *w);
/* Becomes readable when the status has changed so far that people are told; it stays the worker's. */
int guard_worker_fd(const struct guard_worker *w);

/* None of these waits. names: cgroups to leave alone, with spaces between them. */
void guard_worker_exclude(struct guard_worker *w, const char *names);
void guard_worker_order(struct guard_worker *w, const struct guard_order *order);
/* Empties the fd. */
void guard_worker_status(struct guard_worker *w, struct guard_status *ret);
