/* SPDX-License-Identifier: MIT */
#pragma once

#include <jansson.h>

#include "device.h"

/* What the host daemon says to QEMU and hears from it, as pure functions on buffers. The other side may be
 * any program: every number is checked against what a virtio-mem device can be. */

/* Longest line from QEMU: query-memory-devices of a machine with all its 256 slots filled is about 60 KiB. */
#define QMP_LINE_MAX (128UL * 1024)

enum qmp_command {
    QMP_CAPABILITIES,
    QMP_QUERY_SUMMARY, /* query-memory-size-summary */
    QMP_QUERY_DEVICES, /* query-memory-devices */
    QMP_SET_REQUESTED, /* qom-set … requested-size */
    QMP_QUERY_STATUS,
    QMP_QUERY_MIGRATE,
    QMP_TELL_MIGRATION, /* migrate-set-capabilities: the event MIGRATION */
    _QMP_COMMAND_MAX,
    _QMP_COMMAND_INVALID = -EINVAL,
};

enum qmp_kind {
    QMP_GREETING,
    QMP_RETURN,
    QMP_ERROR,
    QMP_EVENT,
    _QMP_KIND_MAX,
    _QMP_KIND_INVALID = -EINVAL,
};

struct qmp_message {
    enum qmp_kind kind;
    bool has_id;
    uint64_t id;    /* RETURN, ERROR */
    char name[64];  /* EVENT: its name; ERROR: its class */
    char text[256]; /* ERROR: its description, EVENT: the status that it tells; shortened */
    json_t *value;  /* RETURN: what came back, owned */
};

const char *qmp_command_to_string(enum qmp_command c);

/* Writes one command and its newline. device and value are for QMP_SET_REQUESTED. -ENOBUFS: does not fit. */
int qmp_format(enum qmp_command c, uint64_t id, const char *device, uint64_t value, char *buf, size_t size,
        size_t *ret_len);

/* -EBADMSG: not a QMP message, or one with an id that cannot be ours. Free with qmp_message_clear(). */
int qmp_message_parse(const char *line, size_t len, struct qmp_message *ret);
void qmp_message_clear(struct qmp_message *m);

/* The answer to query-memory-devices: the numbers of ids[], in their order, and what else is plugged (DIMMs
 * and other virtio-mem devices), in bytes. -ENODEV: one of ids is not there (ret_bad is its index); -EBADMSG:
 * numbers that no device can have, or a sum over INT64_MAX. */
int qmp_decode_devices(const json_t *value, const char ids[][DEVICE_ID_MAX], unsigned n,
        struct device_numbers ret[], uint64_t *ret_other, unsigned *ret_bad);

/* The answer to query-status: whether the guest runs. -EBADMSG. */
int qmp_decode_status(const json_t *value, bool *ret_running);
/* The answer to query-migrate, which has no status when there was none, and the status of MIGRATION: whether
 * the VM is on its way. */
bool qmp_decode_migrate(const json_t *value);
bool qmp_is_migrating(const char *status);

/* The answer to query-memory-size-summary: base-memory in bytes. -EBADMSG. */
int qmp_decode_summary(const json_t *value, uint64_t *ret_base);
