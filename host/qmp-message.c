/* SPDX-License-Identifier: MIT */
#include "qmp-message.h"

#include "bytes.h"

static const char *const command_names[_QMP_COMMAND_MAX] = {
    [QMP_CAPABILITIES] = "qmp_capabilities",
    [QMP_QUERY_SUMMARY] = "query-memory-size-summary",
    [QMP_QUERY_DEVICES] = "query-memory-devices",
    [QMP_SET_REQUESTED] = "qom-set",
    [QMP_QUERY_STATUS] = "query-status",
    [QMP_QUERY_MIGRATE] = "query-migrate",
    [QMP_TELL_MIGRATION] = "migrate-set-capabilities",
};

const char *qmp_command_to_string(enum qmp_command c)
{
    return c >= 0 && c < _QMP_COMMAND_MAX ? command_names[c] : NULL;
}

/* Device ids hold nothing that JSON would escape (host-config.c checks them). */
int qmp_format(enum qmp_command c, uint64_t id, const char *device, uint64_t value, char *buf, size_t size,
        size_t *ret_len)
{
    int n;

    if (c == QMP_SET_REQUESTED)
        n = snprintf(buf, size,
                "{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/machine/peripheral/%s\","
                "\"property\":\"requested-size\",\"value\":%llu},\"id\":%llu}\n",
                device, (unsigned long long)value, (unsigned long long)id);
    else if (c == QMP_TELL_MIGRATION)
        n = snprintf(buf, size,
                "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
                "[{\"capability\":\"events\",\"state\":true}]},\"id\":%llu}\n",
                (unsigned long long)id);
    else
        n = snprintf(
                buf, size, "{\"execute\":\"%s\",\"id\":%llu}\n", command_names[c], (unsigned long long)id);
    if (n < 0 || (size_t)n >= size)
        return -ENOBUFS;
    *ret_len = (size_t)n;
    return 0;
}

void qmp_message_clear(struct qmp_message *m)
{
    if (m->value)
        json_decref(m->value);
    m->value = NULL;
}

/* Copies what fits, cut between characters. */
static void copy_text(char *buf, size_t size, const char *text)
{
    size_t n = MIN_OF(strlen(text), size - 1);

    while (text[n] != '\0' && n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--;
    memcpy(buf, text, n);
    buf[n] = '\0';
}

static int parse_error(json_t *error, struct qmp_message *m)
{
    const char *class = json_string_value(json_object_get(error, "class"));
    const char *text = json_string_value(json_object_get(error, "desc"));

    if (!class || !text)
        return -EBADMSG;
    m->kind = QMP_ERROR;
    copy_text(m->name, sizeof(m->name), class);
    copy_text(m->text, sizeof(m->text), text);
    return 0;
}

static int parse_event(json_t *event, const json_t *data, struct qmp_message *m)
{
    const char *name = json_string_value(event);
    const char *status = json_string_value(json_object_get(data, "status"));

    if (!name || strlen(name) >= sizeof(m->name))
        return -EBADMSG;
    m->kind = QMP_EVENT;
    copy_text(m->name, sizeof(m->name), name);
    copy_text(m->text, sizeof(m->text), status ?: "");
    return 0;
}

/* QEMU gives the id back as it came, or none when it could not read the command. */
static int parse_id(const json_t *root, struct qmp_message *m)
{
    const json_t *id = json_object_get(root, "id");

    if (!id)
        return 0;
    if (!json_is_integer(id) || json_integer_value(id) < 0)
        return -EBADMSG;
    m->has_id = true;
    m->id = (uint64_t)json_integer_value(id);
    return 0;
}

static int parse_root(json_t *root, struct qmp_message *m)
{
    json_t *greeting = json_object_get(root, "QMP"), *value = json_object_get(root, "return");
    json_t *error = json_object_get(root, "error"), *event = json_object_get(root, "event");
    int r;

    if (!!greeting + !!value + !!error + !!event != 1)
        return -EBADMSG;
    r = parse_id(root, m);
    if (r < 0)
        return r;
    if (event)
        return parse_event(event, json_object_get(root, "data"), m);
    if (error)
        return parse_error(error, m);
    if (greeting) {
        m->kind = QMP_GREETING;
        return json_is_object(greeting) ? 0 : -EBADMSG;
    }
    m->kind = QMP_RETURN;
    m->value = json_incref(value);
    return 0;
}

int qmp_message_parse(const char *line, size_t len, struct qmp_message *ret)
{
    struct qmp_message m = { .kind = _QMP_KIND_INVALID };
    json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    int r;

    if (!root)
        return -EBADMSG;
    r = json_is_object(root) ? parse_root(root, &m) : -EBADMSG;
    json_decref(root);
    if (r < 0)
        return r;
    *ret = m;
    return 0;
}

static int get_bytes(const json_t *object, const char *key, uint64_t *ret)
{
    const json_t *v = json_object_get(object, key);

    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return -EBADMSG;
    *ret = (uint64_t)json_integer_value(v);
    return 0;
}

static int decode_device(const json_t *data, struct device_numbers *ret)
{
    struct device_numbers d;

    if (get_bytes(data, "size", &d.size) < 0 || get_bytes(data, "requested-size", &d.requested_size) < 0 ||
            get_bytes(data, "max-size", &d.max_size) < 0 || get_bytes(data, "block-size", &d.block_size) < 0)
        return -EBADMSG;
    if (d.block_size == 0 || (d.block_size & (d.block_size - 1)) != 0)
        return -EBADMSG;
    if (d.size % d.block_size != 0 || d.requested_size % d.block_size != 0 || d.max_size % d.block_size != 0)
        return -EBADMSG;
    if (d.size > d.max_size || d.requested_size > d.max_size)
        return -EBADMSG;
    *ret = d;
    return 0;
}

static int find_id(const char ids[][DEVICE_ID_MAX], unsigned n, const char *id)
{
    for (unsigned i = 0; i < n; i++)
        if (id && streq(ids[i], id))
            return (int)i;
    return -ENOENT;
}

/* What is in the VM besides our devices: it counts as boot memory does. */
static int add_other(const json_t *data, const char *type, uint64_t *other)
{
    struct device_numbers d;
    uint64_t bytes;

    if (streq(type, "virtio-mem")) {
        if (decode_device(data, &d) < 0)
            return -EBADMSG;
        bytes = MAX_OF(d.size, d.requested_size);
    } else if (streq(type, "dimm")) {
        if (get_bytes(data, "size", &bytes) < 0)
            return -EBADMSG;
    } else
        return 0;
    return bytes_add(*other, bytes, other) < 0 ? -EBADMSG : 0;
}

int qmp_decode_devices(const json_t *value, const char ids[][DEVICE_ID_MAX], unsigned n,
        struct device_numbers ret[], uint64_t *ret_other, unsigned *ret_bad)
{
    struct device_numbers found[DEVICES_MAX];
    bool seen[DEVICES_MAX] = { false };
    uint64_t other = 0, sum;

    if (!json_is_array(value) || n > DEVICES_MAX)
        return -EBADMSG;
    for (size_t k = 0; k < json_array_size(value); k++) {
        const json_t *entry = json_array_get(value, k), *data = json_object_get(entry, "data");
        const char *type = json_string_value(json_object_get(entry, "type"));
        int i = find_id(ids, n, json_string_value(json_object_get(data, "id")));

        if (!type || (i >= 0 && (seen[i] || !streq(type, "virtio-mem"))))
            return -EBADMSG;
        if ((i >= 0 ? decode_device(data, &found[i]) : add_other(data, type, &other)) < 0)
            return -EBADMSG;
        if (i >= 0)
            seen[i] = true;
    }
    sum = other;
    for (unsigned i = 0; i < n; i++) {
        if (!seen[i]) {
            *ret_bad = i;
            return -ENODEV;
        }
        if (bytes_add(sum, found[i].max_size, &sum) < 0 || sum > INT64_MAX)
            return -EBADMSG;
    }
    memcpy(ret, found, n * sizeof(found[0]));
    *ret_other = other;
    return 0;
}

int qmp_decode_summary(const json_t *value, uint64_t *ret_base)
{
    return get_bytes(value, "base-memory", ret_base);
}

int qmp_decode_status(const json_t *value, bool *ret_running)
{
    const json_t *running = json_object_get(value, "running");

    if (!json_is_boolean(running))
        return -EBADMSG;
    *ret_running = json_is_true(running);
    return 0;
}

/* QEMU's MigrationStatus: of these all but the last few lead on. */
bool qmp_is_migrating(const char *status)
{
    static const char *const over[] = { "none", "completed", "failed", "cancelled", "colo" };

    for (size_t i = 0; i < ELEMENTSOF(over); i++)
        if (streq(over[i], status))
            return false;
    return true;
}

bool qmp_decode_migrate(const json_t *value)
{
    return qmp_is_migrating(json_string_value(json_object_get(value, "status")) ?: "none");
}
