/* SPDX-License-Identifier: MIT */
#pragma once

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "qmp-message.h"

/* A client of one QMP socket: greets, negotiates, numbers its commands, and comes back when the connection is
 * lost. A command without an answer in time ends the connection, so that every command has one end: reply()
 * or down(). */
struct qmp;

struct qmp_ops {
    /* Ready for commands. peer: process that owns the socket, 0 when it cannot be known. */
    void (*up)(struct qmp *q, pid_t peer, void *userdata);
    /* Commands sent and not answered have no answer: what came of them is not known. */
    void (*down)(struct qmp *q, void *userdata);
    /* value: what came back, NULL when QEMU answered with an error. Borrowed. */
    void (*reply)(struct qmp *q, enum qmp_command command, const json_t *value, void *userdata);
    /* status: what the event tells of it, empty when it tells none. */
    void (*event)(struct qmp *q, const char *name, const char *status, void *userdata);
};

/* name: the VM's, for the log. */
int qmp_new(sd_event *event, const char *name, const char *path, uint64_t timeout_usec,
        const struct qmp_ops *ops, void *userdata, struct qmp **ret);
struct qmp *qmp_free(struct qmp *q);

/* Somebody is there, whether it answers or not. */
bool qmp_connected(const struct qmp *q);

/* -ENOTCONN: not ready; -EBUSY: too many without an answer. device and value as qmp_format(). */
int qmp_send(struct qmp *q, enum qmp_command command, const char *device, uint64_t value);
/* An answer had numbers that cannot be: said once, counted. */
void qmp_complain(struct qmp *q, const char *what);
