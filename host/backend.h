/* SPDX-License-Identifier: MIT */
#pragma once

#include <sys/types.h>

#include "qmp-message.h"

/* The way to one VM's QEMU: its QMP socket (qmp.h) or libvirt (libvirt.h). Commands are numbered and have one
 * end each: reply() or down(). What they are and what comes back is said in QMP's words by both. */
struct backend;

enum backend_event {
    BACKEND_SIZE, /* of a device */
    BACKEND_RESET,
    BACKEND_STOPPED, /* QEMU does not run the guest */
    BACKEND_RUNS,
    BACKEND_MIGRATING,
    BACKEND_MIGRATED, /* … is over */
    _BACKEND_EVENT_MAX,
    _BACKEND_EVENT_INVALID = -EINVAL,
};

struct backend_ops {
    /* Ready for commands. process: QEMU's, 0 when it cannot be known. */
    void (*up)(struct backend *b, pid_t process, void *userdata);
    /* Commands sent and not answered have no answer: what came of them is not known. */
    void (*down)(struct backend *b, void *userdata);
    /* value: what came back, NULL when it was an error. Borrowed. */
    void (*reply)(struct backend *b, enum qmp_command command, const json_t *value, void *userdata);
    void (*event)(struct backend *b, enum backend_event event, void *userdata);
};

struct backend_class {
    void (*free)(struct backend *b);
    /* Whether certainly no QEMU is running. False when that is unknown. */
    bool (*absent)(const struct backend *b);
    /* -ENOTCONN: not ready; -EBUSY: too many without an answer. device and value as qmp_format(). */
    int (*send)(struct backend *b, enum qmp_command command, const char *device, uint64_t value);
    /* An answer had numbers that cannot be: said once, counted. */
    void (*complain)(struct backend *b, const char *what);
};

/* The first member of whatever implements it. */
struct backend {
    const struct backend_class *class;
    const struct backend_ops *ops;
    void *userdata;
};

static inline struct backend *backend_free(struct backend *b)
{
    if (b)
        b->class->free(b);
    return NULL;
}

static inline bool backend_absent(const struct backend *b)
{
    return b->class->absent(b);
}

static inline int backend_send(
        struct backend *b, enum qmp_command command, const char *device, uint64_t value)
{
    return b->class->send(b, command, device, value);
}

static inline void backend_complain(struct backend *b, const char *what)
{
    b->class->complain(b, what);
}
