/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* What those who read the metrics may cost those whom the daemon is there for. Pure. */

/* Prometheus asks every 15 s or so. */
#define METRICS_PLACES 16u
/* A request has this long in all, whatever its client does meanwhile. */
#define METRICS_REQUEST_USEC (10 * USEC_PER_SEC)
/* Who has asked keeps its place for this long: far more than an answer takes for who reads it. */
#define METRICS_KEEP_USEC (2 * USEC_PER_SEC)
/* So many texts are there at once, the one that is being made included: each is some MB for 1,000 VMs. */
#define METRICS_TEXTS 3u

struct MHD_Connection;

/* One client, with one request. */
struct metrics_place {
    bool taken;
    bool cut;      /* its socket is shut: it leaves with the next turn */
    bool asked;    /* the head of its request is whole */
    bool waits;    /* for the text that is being made */
    uint64_t text; /* the number of the text that it is sent, from 1; 0: none yet */
    uint64_t begun;
    int fd; /* borrowed, as connection */
    struct MHD_Connection *connection;
};

/* How long nobody is served after a turn that took spent (µs of CPU). */
uint64_t metrics_rest(uint64_t spent);

/* The place for one who comes: a free one, or of whom has to leave for it. -EBUSY: everybody is being served.
 */
int metrics_place_choose(const struct metrics_place places[static METRICS_PLACES], uint64_t now);
/* Whether its time is over. number: of the newest text, or the one that is being made. */
bool metrics_place_is_over(const struct metrics_place *p, uint64_t number, uint64_t now);
/* When the first one's will be, of those that are not cut; USEC_FOREVER: nobody is there. */
uint64_t metrics_place_deadline(const struct metrics_place places[static METRICS_PLACES]);
