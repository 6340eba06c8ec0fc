/* SPDX-License-Identifier: MIT */
#include "message-json.h"

#include <glib.h>
#include <math.h>

#include "text.h"

/* Masks each string and key of a message, so that neither a terminal nor --json gets control characters. */
static char *copy_masked(const char *text)
{
    char *copy = g_strdup(text);

    text_mask(copy);
    return copy;
}

static json_t *text_to_json(const char *text)
{
    g_autofree char *masked = copy_masked(text);

    return json_string(masked);
}

static int basic_to_json(sd_bus_message *m, char type, json_t **ret)
{
    union {
        uint8_t y;
        int16_t n;
        uint16_t q;
        double d;
        int b;
        int32_t i;
        uint32_t u;
        int64_t x;
        uint64_t t;
        const char *s;
    } v = { 0 };
    json_t *j = NULL;
    int r;

    if (!strchr("ynqbiuxtdsog", type))
        return -EOPNOTSUPP;
    r = sd_bus_message_read_basic(m, type, &v);
    if (r < 0)
        return r;
    if (type == 'b')
        j = json_boolean(v.b);
    else if (strchr("sog", type))
        j = text_to_json(v.s);
    else if (type == 'd')
        j = isfinite(v.d) ? json_real(v.d) : json_null();
    else if (type == 't')
        j = v.t > INT64_MAX ? json_null() : json_integer((json_int_t)v.t);
    else
        j = json_integer(type == 'y'   ? v.y
                         : type == 'n' ? v.n
                         : type == 'q' ? v.q
                         : type == 'i' ? v.i
                         : type == 'u' ? (json_int_t)v.u
                                       : v.x);
    if (!j)
        return -ENOMEM;
    *ret = j;
    return 0;
}

static int add_entry(sd_bus_message *m, json_t *object)
{
    g_autofree char *masked = NULL;
    const char *key;
    json_t *value = NULL;
    char type = 's';
    int r = sd_bus_message_enter_container(m, 0, NULL);

    if (r >= 0)
        r = sd_bus_message_peek_type(m, &type, NULL);
    if (r >= 0 && type != 's' && type != 'o')
        r = -EOPNOTSUPP;
    if (r >= 0)
        r = sd_bus_message_read_basic(m, type, &key);
    if (r >= 0)
        r = message_to_json(m, &value);
    if (r >= 0)
        masked = copy_masked(key);
    if (r >= 0)
        r = json_object_set_new(object, masked, value) < 0 ? -ENOMEM : 0;
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int container_to_json(sd_bus_message *m, char type, const char *contents, json_t **ret)
{
    bool object = type == 'a' && contents[0] == '{';
    _cleanup_json_ json_t *j = object ? json_object() : json_array();
    int r = sd_bus_message_enter_container(m, type, contents);

    while (r >= 0 && (r = sd_bus_message_at_end(m, false)) == 0) {
        json_t *value = NULL;

        if (object)
            r = add_entry(m, j);
        else {
            r = message_to_json(m, &value);
            if (r >= 0)
                r = json_array_append_new(j, value) < 0 ? -ENOMEM : 0;
        }
    }
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(j);
    return 0;
}

int message_to_json(sd_bus_message *m, json_t **ret)
{
    const char *contents;
    char type;
    int r = sd_bus_message_peek_type(m, &type, &contents);

    if (r <= 0)
        return r < 0 ? r : -ENXIO;
    if (type == 'v') {
        r = sd_bus_message_enter_container(m, 'v', contents);
        if (r >= 0)
            r = message_to_json(m, ret);
        return r < 0 ? r : sd_bus_message_exit_container(m);
    }
    return type == 'a' || type == 'r' ? container_to_json(m, type, contents, ret)
                                      : basic_to_json(m, type, ret);
}

int message_all_to_json(sd_bus_message *m, json_t **ret)
{
    _cleanup_json_ json_t *all = json_array();
    int r;

    while ((r = sd_bus_message_at_end(m, true)) == 0) {
        json_t *value;

        r = message_to_json(m, &value);
        if (r < 0)
            return r;
        if (json_array_append_new(all, value) < 0)
            return -ENOMEM;
    }
    if (r < 0)
        return r;
    *ret = TAKE_PTR(all);
    return 0;
}
