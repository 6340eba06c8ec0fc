/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* The line between guest and host: one JSON object a line. See vmtide-channel(7). */
#define CHANNEL_VERSION 1u
#define CHANNEL_LINE_MAX 4096u /* with the newline */
#define CHANNEL_PORT_NAME "org.vmtide.0"
#define CHANNEL_PORT_PATH "/dev/virtio-ports/" CHANNEL_PORT_NAME

/* A peer that sends more bad lines than this in the window is cut off for the same time. */
#define CHANNEL_BAD_LINES_MAX 100u
#define CHANNEL_BAD_LINES_WINDOW_USEC (10 * USEC_PER_SEC)

enum channel_op {
    CHANNEL_WHO,
    CHANNEL_HELLO,
    CHANNEL_WELCOME,
    CHANNEL_RESIZE,
    CHANNEL_GRANTED,
    CHANNEL_REFUSED,
    CHANNEL_SIZE,
    CHANNEL_LIMITS,
    CHANNEL_SHRINK,
    CHANNEL_DECLINED,
    CHANNEL_STATS,
    CHANNEL_ROOM,
    CHANNEL_PING,
    CHANNEL_PONG,
    CHANNEL_ERROR,
    _CHANNEL_OP_MAX,
    _CHANNEL_OP_INVALID = -EINVAL,
};

/* Why a resize was refused, or a shrink declined. */
enum channel_code {
    CHANNEL_CODE_LIMIT,
    CHANNEL_CODE_RATE,
    CHANNEL_CODE_HOST_MEMORY,
    CHANNEL_CODE_BUSY,
    CHANNEL_CODE_DEVICE,
    CHANNEL_CODE_INVALID,
    CHANNEL_CODE_IN_USE,
    CHANNEL_CODE_PAUSED,
    _CHANNEL_CODE_MAX,
    _CHANNEL_CODE_INVALID = -EINVAL,
};

enum channel_level {
    CHANNEL_LEVEL_NORMAL,
    CHANNEL_LEVEL_RISING,
    CHANNEL_LEVEL_CRITICAL,
    CHANNEL_LEVEL_SETTLING,
    _CHANNEL_LEVEL_MAX,
    _CHANNEL_LEVEL_INVALID = -EINVAL,
};

/* One message; only the fields of its op are meaningful. Sizes are bytes and at most INT64_MAX (JSON
 * integers). */
struct channel_message {
    enum channel_op op;
    uint64_t id;
    uint64_t version;
    uint64_t boot_size;
    uint64_t memory_block_size;
    uint64_t block_size;
    uint64_t size;
    uint64_t requested_size;
    uint64_t min_size;
    uint64_t max_size;
    uint64_t available;
    uint64_t total;
    uint64_t some10; /* permyriad */
    enum channel_level level;
    enum channel_code code;
    char agent[64];
    char boot_id[64];
    char vm[64];
    char reason[128];
    char text[256];
};

const char *channel_op_to_string(enum channel_op op);
enum channel_op channel_op_from_string(const char *s);
const char *channel_code_to_string(enum channel_code code); /* "host-memory" … */
enum channel_code channel_code_from_string(const char *s);
const char *channel_level_to_string(enum channel_level level);
enum channel_level channel_level_from_string(const char *s);

/* Writes the message and its newline. -EINVAL: not a valid message (a size above INT64_MAX, a text that is
 * not UTF-8 or not terminated); -ENOBUFS: does not fit size or CHANNEL_LINE_MAX. */
int channel_encode(const struct channel_message *m, char *buf, size_t size, size_t *ret_len);

/* Reads one line without its newline. Strings longer than their field, negative or non-integer numbers, a
 * missing key, a value out of range, duplicate keys and NULs are -EBADMSG; an op that is not known
 * -EOPNOTSUPP (answer `error`). Unknown keys are ignored. *ret is untouched on failure. */
int channel_decode(const char *line, size_t len, struct channel_message *ret);
