/* SPDX-License-Identifier: MIT */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kind {
    KIND_ANON,      /* anonymous memory, touched page by page; huge pages as the guest has configured them */
    KIND_ANON4K,    /* the same without huge pages */
    KIND_POPULATE,  /* anonymous memory, mapped with MAP_POPULATE */
    KIND_READ,      /* anonymous memory, filled by read() */
    KIND_MLOCK,     /* anonymous memory, locked chunk by chunk */
    KIND_TMPFS,     /* shared memory, written */
    KIND_FALLOCATE, /* shared memory, allocated by fallocate(), which zeroes nothing at first */
    KIND_FILE,      /* page cache: a file that is written, or read when it exists */
    KIND_PIPE,      /* kernel memory: full pipes */
    KIND_UNIX,      /* kernel memory: full buffers of unix sockets */
    KIND_TABLES,    /* kernel memory: a page table for each page that is touched */
    _KIND_MAX,
    _KIND_INVALID = -EINVAL,
};

struct worker {
    enum kind kind;
    uint64_t bytes;
    uint64_t touched;
    uint64_t stall_us, stalled_at_us;
    int error;
    char *memory;
    uint64_t mapped; /* bytes of address space at memory */
    int fd;          /* file to read or write, or the end of a pipe or socket pair that is filled */
    bool reading;
};

enum kind kind_from_name(const char *name);

/* How much one worker_take() takes at most: what is timed, and what the rate is counted in. */
size_t kind_chunk(enum kind kind);

/* Whether each descriptor holds little memory, so that a worker needs many. */
bool kind_needs_files(enum kind kind);

/* Before the first worker. */
void prepare_pattern(void);

/* path: for KIND_FILE, the folder for a file of the worker's own, or the file to read. */
int worker_prepare(struct worker *w, const char *path, unsigned index);
int worker_take(struct worker *w, size_t length);
void worker_release(struct worker *w);
