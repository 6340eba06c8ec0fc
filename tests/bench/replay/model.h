/* SPDX-License-Identifier: MIT */
#pragma once

#include "trace.h"

/* A guest on a host, in its own time. What it assumes is written where it is computed. */

#define MODEL_BLOCK MIB(2)
#define MODEL_MEMORY_BLOCK MIB(128)

struct model_options {
    uint64_t boot;
    uint64_t max; /* of the device */
    uint64_t plug_latency;
    uint64_t unplug_rate;
    uint32_t unplug_fail; /* percent */
    uint32_t kernel_part; /* percent of what is used */
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

    uint64_t used; /* as recorded */
    uint64_t cached;

    uint64_t size;
    uint64_t requested;
    bool asked; /* a request has no answer yet */
    uint64_t asked_size;
    uint64_t answer_time;
    struct model_plug plugs[MODEL_PLUGS]; /* granted, on their way; in order */
    unsigned n_plugs;
    uint64_t unplug_begun; /* 0: none */
    uint64_t unplug_from;
    uint64_t unplug_to;     /* how far the driver gets */
    uint64_t progress_time; /* when the size fell last */

    uint64_t total; /* MemTotal */
    uint64_t memmap;
    uint64_t low;        /* what the kernel keeps back */
    uint64_t kernel_low; /* of that, in the kernel zones */
    uint64_t cache;      /* what is there of cached */
    uint64_t gone;       /* squeezed, and nobody reads it again */
    uint64_t squeezing;  /* being squeezed */
    uint64_t squeezed_time;
    uint64_t movable_managed;
    uint64_t movable_user;
    uint64_t short_bytes; /* demand beyond what there is */

    uint64_t stall; /* PSI some total, µs */
    uint64_t refaults;
};

void model_init(struct model *m, const struct model_options *o);
/* Moves on by usec (at most a few 10 ms: what happens meanwhile is taken as even) to this demand. */
void model_advance(struct model *m, uint64_t usec, uint64_t used, uint64_t cached);
/* Asks the host for a size of the device. One request at a time. */
void model_request(struct model *m, uint64_t size);
void model_squeeze(struct model *m, uint64_t bytes);

uint64_t model_free(const struct model *m);
uint64_t model_available(const struct model *m);
uint64_t model_active_file(const struct model *m);
uint64_t model_kernel_free(const struct model *m);
uint64_t model_kernel_file(const struct model *m);
