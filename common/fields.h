/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* The common part of the /proc readers: named numbers, each line by line, each wanted one exactly once. */
struct field {
    const char *name;
    size_t offset; /* of a uint64_t in the target */
    bool optional;
};

/* Which of them have been seen. */
struct fields {
    const struct field *table;
    size_t count;
    void *target;
    uint32_t seen; /* a bit for each row: 32 at most */
};

/* Stores value x scale in the field of that name; unknown names are ignored. -EBADMSG: seen before; -ERANGE:
 * too big. */
int fields_set(struct fields *f, const char *name, size_t name_len, uint64_t value, uint64_t scale);
/* -EBADMSG when a required one is missing. */
int fields_complete(const struct fields *f);

/* Reads digits at *p and moves on. -EBADMSG: none; -ERANGE: more than fits. */
int fields_number(const char **p, uint64_t *ret);
