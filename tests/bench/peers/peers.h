/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* Any number of scripted guests and QEMUs on real sockets, in one thread: what vmtide-host talks to in
 * scripts/bench host. They are honest, but for a guest that floods; nothing here is a test. */

#define PEERS_MIB (1024ull * 1024)
#define BOOT_BYTES (128 * PEERS_MIB)
#define BLOCK_BYTES (2 * PEERS_MIB)
#define MAX_BYTES (1024 * PEERS_MIB)
/* A guest asks between nothing and this. */
#define RESIZE_BYTES (128 * PEERS_MIB)
/* The host queues 16; what is asked beyond is refused busy, and answered too. */
#define OPEN_MAX 64u
#define LINE_MAX_BYTES 4096u

enum flood {
    FLOOD_NONE,
    FLOOD_REQUESTS, /* 10,000 resizes a second */
    FLOOD_LONG,     /* lines of 1 MiB, as fast as they are taken */
    FLOOD_HALF,     /* a line that never ends, as fast as it is taken */
    FLOOD_DEAF,     /* pings, and never reads what comes */
    _FLOOD_MAX,
    _FLOOD_INVALID = -EINVAL,
};

/* One socket that the host connects to. */
struct wire {
    struct peer *peer;
    bool is_qmp;
    int listener;
    int fd;
    char line[LINE_MAX_BYTES];
    size_t len;
};

struct peer {
    struct wire qmp;
    struct wire channel;
    unsigned number;
    bool welcomed;
    bool deaf;
    uint64_t size;
    uint64_t requested;
    uint64_t next_id;
    uint64_t due[OPEN_MAX]; /* µs, by id; 0: nothing open */
    uint64_t stats_at;
};

struct tally {
    uint64_t sent;
    uint64_t granted;
    uint64_t refused;
    uint64_t strays;   /* answers to nothing that is open */
    uint32_t *latency; /* µs, of each answer */
    size_t n_latency;
    size_t max_latency;
};

uint64_t peers_now(void); /* µs */

/* wire.c: listens at path; writes all or ends the program; -EAGAIN only for wire_try(). */
void wire_listen(struct wire *w, const char *path);
void wire_send(struct wire *w, const char *data, size_t len);
ssize_t wire_try(struct wire *w, const char *data, size_t len);
/* A line, to a guest's host by wire_try() when the guest is deaf. */
__attribute__((format(printf, 2, 3))) void wire_say(struct wire *w, const char *format, ...);
/* Reads what is there and calls on_line for each whole line, without its newline. */
void wire_read(struct wire *w, void (*on_line)(struct wire *w, const char *line));
/* The number after "key":, or 0. */
uint64_t wire_number(const char *line, const char *key);

/* qemu.c, guest.c */
void qemu_greet(struct wire *w);
void qemu_line(struct wire *w, const char *line);
void guest_line(struct wire *w, const char *line);
void guest_ask(struct peer *p, uint64_t due);
void guest_stats(struct peer *p);
void guest_flood(struct peer *p, enum flood flood);
extern struct tally tally; /* of all guests that do not flood */
