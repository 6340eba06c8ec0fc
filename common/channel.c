/* SPDX-License-Identifier: MIT */
#include "channel.h"

#include <jansson.h>

#include "text.h"

static const char *const op_names[_CHANNEL_OP_MAX] = {
    [CHANNEL_WHO] = "who",
    [CHANNEL_HELLO] = "hello",
    [CHANNEL_WELCOME] = "welcome",
    [CHANNEL_RESIZE] = "resize",
    [CHANNEL_GRANTED] = "granted",
    [CHANNEL_REFUSED] = "refused",
    [CHANNEL_SIZE] = "size",
    [CHANNEL_LIMITS] = "limits",
    [CHANNEL_SHRINK] = "shrink",
    [CHANNEL_DECLINED] = "declined",
    [CHANNEL_STATS] = "stats",
    [CHANNEL_ROOM] = "room",
    [CHANNEL_PING] = "ping",
    [CHANNEL_PONG] = "pong",
    [CHANNEL_ERROR] = "error",
};

static const char *const code_names[_CHANNEL_CODE_MAX] = {
    [CHANNEL_CODE_LIMIT] = "limit",
    [CHANNEL_CODE_RATE] = "rate",
    [CHANNEL_CODE_HOST_MEMORY] = "host-memory",
    [CHANNEL_CODE_BUSY] = "busy",
    [CHANNEL_CODE_DEVICE] = "device",
    [CHANNEL_CODE_INVALID] = "invalid",
    [CHANNEL_CODE_IN_USE] = "in-use",
    [CHANNEL_CODE_PAUSED] = "paused",
};

static const char *const level_names[_CHANNEL_LEVEL_MAX] = {
    [CHANNEL_LEVEL_NORMAL] = "normal",
    [CHANNEL_LEVEL_RISING] = "rising",
    [CHANNEL_LEVEL_CRITICAL] = "critical",
    [CHANNEL_LEVEL_SETTLING] = "settling",
};

enum key_type {
    KEY_NUMBER,
    KEY_STRING,
    KEY_LEVEL,
    KEY_CODE,
    _KEY_TYPE_MAX,
    _KEY_TYPE_INVALID = -EINVAL,
};

struct key {
    const char *name;
    enum key_type type;
    size_t offset;
    size_t size; /* of a string's field */
};

#define NUMBER(key_name, field)                                                                              \
    {                                                                                                        \
        key_name, KEY_NUMBER, offsetof(struct channel_message, field), 0                                     \
    }
#define STRING(field)                                                                                        \
    {                                                                                                        \
#field, KEY_STRING, offsetof(struct channel_message, field),                                         \
                sizeof(((struct channel_message *)NULL)->field)                                              \
    }
#define LEVEL                                                                                                \
    {                                                                                                        \
        "level", KEY_LEVEL, offsetof(struct channel_message, level), 0                                       \
    }
#define CODE                                                                                                 \
    {                                                                                                        \
        "code", KEY_CODE, offsetof(struct channel_message, code), 0                                          \
    }
#define ID NUMBER("id", id)

#define KEYS_MAX 8u

/* Every key is required; a row without a name ends an op's list. */
static const struct key keys[_CHANNEL_OP_MAX][KEYS_MAX + 1] = {
    [CHANNEL_HELLO] = { NUMBER("v", version), STRING(agent), STRING(boot_id), NUMBER("boot_size", boot_size),
            NUMBER("memory_block_size", memory_block_size) },
    [CHANNEL_WELCOME] = { NUMBER("v", version), STRING(agent), STRING(vm), NUMBER("block_size", block_size),
            NUMBER("size", size), NUMBER("requested_size", requested_size), NUMBER("min_size", min_size),
            NUMBER("max_size", max_size) },
    [CHANNEL_RESIZE] = { ID, NUMBER("size", size), STRING(reason) },
    [CHANNEL_GRANTED] = { ID, NUMBER("requested_size", requested_size) },
    [CHANNEL_REFUSED] = { ID, CODE, STRING(text), NUMBER("max_size", max_size) },
    [CHANNEL_SIZE] = { NUMBER("size", size), NUMBER("requested_size", requested_size) },
    [CHANNEL_LIMITS] = { NUMBER("min_size", min_size), NUMBER("max_size", max_size) },
    [CHANNEL_SHRINK] = { ID, NUMBER("size", size), STRING(reason) },
    [CHANNEL_DECLINED] = { ID, CODE },
    [CHANNEL_STATS] = { NUMBER("available", available), NUMBER("total", total), NUMBER("some10", some10),
            LEVEL },
    [CHANNEL_PING] = { ID },
    [CHANNEL_PONG] = { ID },
    [CHANNEL_ERROR] = { STRING(text) },
};

static int name_index(const char *const *names, int count, const char *s)
{
    for (int i = 0; s && i < count; i++)
        if (streq(names[i], s))
            return i;
    return -EINVAL;
}

static const char *index_name(const char *const *names, int count, int i)
{
    return i >= 0 && i < count ? names[i] : NULL;
}

const char *channel_op_to_string(enum channel_op op)
{
    return index_name(op_names, _CHANNEL_OP_MAX, op);
}

enum channel_op channel_op_from_string(const char *s)
{
    return name_index(op_names, _CHANNEL_OP_MAX, s);
}

const char *channel_code_to_string(enum channel_code code)
{
    return index_name(code_names, _CHANNEL_CODE_MAX, code);
}

enum channel_code channel_code_from_string(const char *s)
{
    return name_index(code_names, _CHANNEL_CODE_MAX, s);
}

const char *channel_level_to_string(enum channel_level level)
{
    return index_name(level_names, _CHANNEL_LEVEL_MAX, level);
}

enum channel_level channel_level_from_string(const char *s)
{
    return name_index(level_names, _CHANNEL_LEVEL_MAX, s);
}

static json_t *encode_key(const struct channel_message *m, const struct key *k)
{
    const void *field = (const char *)m + k->offset;
    uint64_t number;
    int value;

    switch (k->type) {
    case KEY_NUMBER:
        memcpy(&number, field, sizeof(number));
        return number > INT64_MAX ? NULL : json_integer((json_int_t)number);
    case KEY_STRING:
        /* NULL when it is not UTF-8. */
        return memchr(field, '\0', k->size) ? json_string(field) : NULL;
    case KEY_LEVEL:
        memcpy(&value, field, sizeof(value));
        return json_string(channel_level_to_string(value));
    case KEY_CODE:
        memcpy(&value, field, sizeof(value));
        return json_string(channel_code_to_string(value));
    case _KEY_TYPE_MAX:
    case _KEY_TYPE_INVALID:
        break;
    }
    return NULL;
}

int channel_encode(const struct channel_message *m, char *buf, size_t size, size_t *ret_len)
{
    json_t *object;
    size_t n;
    int r = 0;

    if (!channel_op_to_string(m->op))
        return -EINVAL;
    object = json_object();
    if (!object)
        return -ENOMEM;
    if (json_object_set_new(object, "op", json_string(channel_op_to_string(m->op))) < 0)
        r = -ENOMEM;
    for (const struct key *k = keys[m->op]; r >= 0 && k->name; k++)
        if (json_object_set_new(object, k->name, encode_key(m, k)) < 0)
            r = -EINVAL;
    if (r >= 0) {
        size_t room = MIN_OF(size, CHANNEL_LINE_MAX);

        n = json_dumpb(object, buf, room, JSON_COMPACT);
        if (n == 0 || n >= room)
            r = -ENOBUFS;
        else {
            buf[n] = '\n';
            *ret_len = n + 1;
        }
    }
    json_decref(object);
    return r;
}

static int decode_key(struct channel_message *m, const struct key *k, const json_t *value)
{
    char *field = (char *)m + k->offset;
    uint64_t number;
    int name = -EINVAL;

    switch (k->type) {
    case KEY_NUMBER:
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return -EBADMSG;
        number = (uint64_t)json_integer_value(value);
        memcpy(field, &number, sizeof(number));
        return 0;
    case KEY_STRING:
        if (!json_is_string(value) || json_string_length(value) >= k->size)
            return -EBADMSG;
        if (!text_is_printable(json_string_value(value)))
            return -EBADMSG;
        memcpy(field, json_string_value(value), json_string_length(value) + 1);
        return 0;
    case KEY_LEVEL:
        name = channel_level_from_string(json_string_value(value));
        break;
    case KEY_CODE:
        name = channel_code_from_string(json_string_value(value));
        break;
    case _KEY_TYPE_MAX:
    case _KEY_TYPE_INVALID:
        break;
    }
    if (name < 0)
        return -EBADMSG;
    memcpy(field, &name, sizeof(name));
    return 0;
}

static int decode_object(const json_t *object, struct channel_message *m)
{
    const json_t *op = json_object_get(object, "op");

    if (!json_is_string(op))
        return -EBADMSG;
    m->op = channel_op_from_string(json_string_value(op));
    if ((int)m->op < 0)
        return -EOPNOTSUPP;
    for (const struct key *k = keys[m->op]; k->name; k++) {
        int r = decode_key(m, k, json_object_get(object, k->name));
        if (r < 0)
            return r;
    }
    /* some10 is a share. */
    return m->some10 > PERMYRIAD_ONE ? -EBADMSG : 0;
}

int channel_decode(const char *line, size_t len, struct channel_message *ret)
{
    struct channel_message m = { .op = _CHANNEL_OP_INVALID };
    json_t *object;
    int r;

    if (len >= CHANNEL_LINE_MAX || memchr(line, '\0', len))
        return -EBADMSG;
    /* NULs in strings (\u0000) are refused by default, nesting is bounded by jansson's own limit and the
     * line's. */
    object = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    if (!object)
        return -EBADMSG;
    r = decode_object(object, &m);
    json_decref(object);
    if (r >= 0)
        *ret = m;
    return r;
}
