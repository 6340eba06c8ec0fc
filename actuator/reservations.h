/* SPDX-License-Identifier: MIT */
#pragma once

#include <sys/types.h>

#include "bytes.h"

/* Who has memory kept ready, pure. */

#define RESERVATIONS_MAX 64u
#define RESERVATIONS_EACH_MAX 16u
#define RESERVATION_WHO_MAX 63u
#define RESERVATION_WHY_MAX 127u
#define RESERVATIONS_TEXT_MAX 256

struct reservation {
    uint64_t id; /* 0: free */
    uint64_t bytes;
    uint64_t base;  /* the size that is kept beside what is reserved: what was in use; 0: none */
    uint64_t since; /* CLOCK_BOOTTIME µs */
    uid_t uid;
    char who[RESERVATION_WHO_MAX + 1];
    char why[RESERVATION_WHY_MAX + 1];
};

struct reservations {
    struct reservation table[RESERVATIONS_MAX];
    uint64_t last_id;
    uint64_t used; /* the size in use at the last reservations_lower(); UINT64_MAX: not measured yet */
};

/* A place for it; bytes of the others count as still unused, so each has its own. -EDQUOT with a text when it
 * is one too many or too large (16 and half of max_size for a user, 64 in all). */
int reservations_add(struct reservations *r, const struct reservation *wanted, uint64_t max_size,
        size_t *ret_slot, char ret_text[static RESERVATIONS_TEXT_MAX]);
void reservations_drop(struct reservations *r, size_t slot);

/* The sum of all. */
uint64_t reservations_bytes(const struct reservations *r);
/* The size that must not be left; 0: nothing is reserved. */
uint64_t reservations_floor(const struct reservations *r);
/* The base of a new one for which needed has to be plugged, itself being in the table. */
uint64_t reservations_base(const struct reservations *r, uint64_t needed);

/* The size at which bytes are available beside the headroom, by what is now; less than the size when there is
 * more than that. waiting: bytes of others that are in the table and in none of the numbers yet. Never less
 * than the floor and the bytes. */
uint64_t reservations_needed(const struct reservations *r, uint64_t bytes, uint64_t waiting, uint64_t size,
        uint64_t requested_size, uint64_t available, uint64_t headroom);

/* Lowers each base to the size that is in use, headroom included. The larger of this measurement and the
 * previous one counts, so that a short dip lowers nothing. A base never rises: the memory that the holder
 * uses is part of the size in use. Returns true when the floor fell by at least least bytes; smaller falls
 * are deferred. */
bool reservations_lower(struct reservations *r, uint64_t least, uint64_t size, uint64_t requested_size,
        uint64_t available, uint64_t headroom);
/* Returns whether any reservation has a base that can fall. */
bool reservations_have_base(const struct reservations *r);

/* For a restart: everything as text (g_free), and back. -EBADMSG: not believed, *r is untouched. */
char *reservations_format(const struct reservations *r);
int reservations_parse(struct reservations *r, const char *text);
