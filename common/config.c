/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <ctype.h>
#include <glib.h>

#include "bytes.h"
#include "procfile.h"

#define FILE_MAX (256UL * 1024)
#define NAME_MAX_BYTES 128
/* sun_path, with its NUL. */
#define PATH_BYTES_MAX 107u

/* What one read of a file carries along. */
struct reader {
    const char *name;
    const struct config_option *table;
    void *target;
    config_group_t on_group;
    void *userdata;
    GHashTable *groups; /* seen */
    GHashTable *keys;   /* seen in this group */
    const struct config_option *group_table;
    void *group_target;
    char *group;
    unsigned line;
    char **ret_error;
};

static int refuse(struct reader *r, int error, const char *format, ...) _printf_(3, 4);
static int refuse(struct reader *r, int error, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, format);
    text = g_strdup_vprintf(format, ap);
    va_end(ap);
    *r->ret_error = r->line > 0 ? g_strdup_printf("%s:%u: %s", r->name, r->line, text)
                                : g_strdup_printf("%s: %s", r->name, text);
    return error;
}

static int parse_usec(const char *s, uint64_t *ret)
{
    static const struct {
        const char *unit;
        uint64_t usec;
    } units[] = {
        { "", USEC_PER_SEC },
        { "us", 1 },
        { "ms", USEC_PER_MSEC },
        { "s", USEC_PER_SEC },
        { "min", 60 * USEC_PER_SEC },
        { "h", 3600 * USEC_PER_SEC },
    };
    guint64 value;
    char *end;

    if (!isdigit((unsigned char)*s))
        return -EINVAL;
    errno = 0;
    value = g_ascii_strtoull(s, &end, 10);
    if (errno != 0)
        return -ERANGE;
    for (size_t i = 0; i < ELEMENTSOF(units); i++)
        if (streq(units[i].unit, end))
            return bytes_mul(value, units[i].usec, ret) < 0 ? -ERANGE : 0;
    return -EINVAL;
}

static int parse_uint(const char *s, uint64_t *ret)
{
    guint64 value;

    if (!g_ascii_string_to_unsigned(s, 10, 0, UINT32_MAX, &value, NULL))
        return -EINVAL;
    *ret = value;
    return 0;
}

static int parse_bool(const char *s, uint64_t *ret)
{
    static const char *const yes[] = { "yes", "true", "on", "1", NULL };
    static const char *const no[] = { "no", "false", "off", "0", NULL };

    if (!g_strv_contains(yes, s) && !g_strv_contains(no, s))
        return -EINVAL;
    *ret = g_strv_contains(yes, s);
    return 0;
}

static int parse_enum(const char *const *names, const char *s, uint64_t *ret)
{
    for (uint64_t i = 0; names[i]; i++)
        if (streq(names[i], s)) {
            *ret = i;
            return 0;
        }
    return -EINVAL;
}

static char *expected(const struct config_option *o)
{
    g_autofree char *names = NULL;

    switch (o->type) {
    case CONFIG_BYTES:
        return o->min == 0 && o->max == 0
                       ? g_strdup("a size like 512M or 1.5G")
                       : g_strdup_printf("a size from %s to %s", FORMAT_BYTES(o->min), FORMAT_BYTES(o->max));
    case CONFIG_UINT:
        return o->min == 0 && o->max == 0
                       ? g_strdup("a whole number")
                       : g_strdup_printf("a whole number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT,
                                 o->min, o->max);
    case CONFIG_USEC:
        return o->min == 0 && o->max == 0
                       ? g_strdup("a time like 100ms, 5s or 2min")
                       : g_strdup_printf("a time from %" G_GUINT64_FORMAT "ms to %" G_GUINT64_FORMAT "ms",
                                 o->min / USEC_PER_MSEC, o->max / USEC_PER_MSEC);
    case CONFIG_BOOL:
        return g_strdup("yes or no");
    case CONFIG_ENUM:
        names = g_strjoinv(", ", (char **)o->names);
        return g_strdup_printf("one of %s", names);
    case CONFIG_PATH:
        return g_strdup_printf(
                "an absolute path like /run/vms/guest1.sock, of at most %u bytes", PATH_BYTES_MAX);
    case CONFIG_STRING:
    case _CONFIG_TYPE_MAX:
    case _CONFIG_TYPE_INVALID:
        break;
    }
    return g_strdup("a text that is not empty");
}

static int parse_value(const struct config_option *o, const char *s, uint64_t *ret)
{
    switch (o->type) {
    case CONFIG_BYTES:
        return bytes_parse(s, ret);
    case CONFIG_UINT:
        return parse_uint(s, ret);
    case CONFIG_BOOL:
        return parse_bool(s, ret);
    case CONFIG_ENUM:
        return parse_enum(o->names, s, ret);
    case CONFIG_USEC:
        return parse_usec(s, ret);
    case CONFIG_STRING:
        *ret = 0;
        return *s != '\0' && g_utf8_validate(s, -1, NULL) ? 0 : -EINVAL;
    case CONFIG_PATH:
        *ret = 0;
        return g_path_is_absolute(s) && strlen(s) <= PATH_BYTES_MAX ? 0 : -EINVAL;
    case _CONFIG_TYPE_MAX:
    case _CONFIG_TYPE_INVALID:
        break;
    }
    return -EINVAL;
}

static void store(const struct config_option *o, void *target, const char *text, uint64_t value)
{
    void *field = (char *)target + o->offset;

    switch (o->type) {
    case CONFIG_BYTES:
    case CONFIG_USEC:
        *(uint64_t *)field = value;
        break;
    case CONFIG_UINT:
        *(uint32_t *)field = (uint32_t)value;
        break;
    case CONFIG_BOOL:
        *(bool *)field = value != 0;
        break;
    case CONFIG_ENUM:
        *(int *)field = (int)value;
        break;
    case CONFIG_STRING:
    case CONFIG_PATH:
        g_free(*(char **)field);
        *(char **)field = g_strdup(text);
        break;
    case _CONFIG_TYPE_MAX:
    case _CONFIG_TYPE_INVALID:
        break;
    }
}

int config_set(const struct config_option *o, void *target, const char *value, char **ret_error)
{
    uint64_t number;
    bool bounded = o->min != 0 || o->max != 0;
    int r = parse_value(o, value, &number);

    if (r >= 0 && bounded && (o->type == CONFIG_BYTES || o->type == CONFIG_UINT || o->type == CONFIG_USEC) &&
            (number < o->min || number > o->max))
        r = -ERANGE;
    if (r < 0) {
        g_autofree char *wanted = expected(o);

        *ret_error = g_strdup_printf("%s=%s: not %s", o->key, value, wanted);
        return r;
    }
    store(o, target, value, number);
    return 0;
}

static const struct config_option *find_option(
        const struct config_option *table, const char *group, const char *key)
{
    for (const struct config_option *o = table; o->group; o++)
        if ((!group || streq(o->group, group)) && (!key || streq(o->key, key)))
            return o;
    return NULL;
}

static int take_group(struct reader *r, const char *line, size_t len)
{
    int error;

    if (line[len - 1] != ']' || len < 3 || len > NAME_MAX_BYTES)
        return refuse(r, -EBADMSG, "%s: not a group; write [Name]", line);
    g_free(r->group);
    r->group = g_strndup(line + 1, len - 2);
    if (!g_hash_table_add(r->groups, g_strdup(r->group)))
        return refuse(r, -EEXIST, "group [%s] stands here twice", r->group);
    g_hash_table_remove_all(r->keys);
    r->group_table = r->table;
    r->group_target = r->target;
    if (find_option(r->table, r->group, NULL))
        return 0;
    error = r->on_group ? r->on_group(r->group, r->userdata, &r->group_table, &r->group_target) : -ENOENT;
    /* Not to be taken for a file that is not there. */
    return error < 0 ? refuse(r, error == -ENOENT ? -EBADMSG : error, "group [%s] is not known", r->group)
                     : 0;
}

static int take_key(struct reader *r, char *line)
{
    g_autofree char *error = NULL;
    const struct config_option *o;
    char *equals = strchr(line, '='), *key, *value;
    int e;

    if (!equals)
        return refuse(r, -EBADMSG, "%s: neither [Group] nor Key=Value nor # comment", line);
    *equals = '\0';
    key = g_strstrip(line);
    value = g_strstrip(equals + 1);
    if (!r->group)
        return refuse(r, -EBADMSG, "%s=%s stands before the first [Group]", key, value);
    if (!g_hash_table_add(r->keys, g_strdup(key)))
        return refuse(r, -EEXIST, "[%s] %s=%s: the key stands in this group twice", r->group, key, value);
    o = r->group_table == r->table ? find_option(r->table, r->group, key)
                                   : find_option(r->group_table, NULL, key);
    if (!o)
        return refuse(r, -EBADMSG, "[%s] %s=%s: the key is not known", r->group, key, value);
    e = config_set(o, r->group_target, value, &error);
    return e < 0 ? refuse(r, e, "[%s] %s", r->group, error) : 0;
}

/* GKeyFile knows no line numbers and lets the last of two keys win silently, so lines are read here; the
 * grammar is GKeyFile's, without its escapes. */
static int read_lines(struct reader *r, char *text)
{
    for (char *line = text, *next; line; line = next) {
        int e;

        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        r->line++;
        line = g_strstrip(line);
        if (*line == '\0' || *line == '#')
            continue;
        e = *line == '[' ? take_group(r, line, strlen(line)) : take_key(r, line);
        if (e < 0)
            return e;
    }
    return 0;
}

int config_parse(const char *name, const char *text, const struct config_option *table, void *target,
        config_group_t on_group, void *userdata, char **ret_error)
{
    g_autoptr(GHashTable) groups = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GHashTable) keys = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autofree char *copy = g_strdup(text);
    struct reader r = {
        .name = name,
        .table = table,
        .target = target,
        .on_group = on_group,
        .userdata = userdata,
        .groups = groups,
        .keys = keys,
        .ret_error = ret_error,
    };
    int e = g_utf8_validate(text, -1, NULL) ? read_lines(&r, copy) : refuse(&r, -EBADMSG, "not UTF-8");

    g_free(r.group);
    return e;
}

int config_load(const char *path, const struct config_option *table, void *target, config_group_t on_group,
        void *userdata, char **ret_error)
{
    _cleanup_free_ char *buf = malloc(FILE_MAX);
    size_t len;
    int r = buf ? procfile_read(path, buf, FILE_MAX, &len) : -ENOMEM;

    if (r >= 0 && strlen(buf) != len)
        r = -EBADMSG;
    if (r < 0) {
        *ret_error = g_strdup_printf("%s: %s", path, strerror(-r));
        return r;
    }
    return config_parse(path, buf, table, target, on_group, userdata, ret_error);
}

void config_clear(const struct config_option *table, void *target)
{
    for (const struct config_option *o = table; o->group; o++) {
        char **field = (char **)((char *)target + o->offset);

        if (o->type == CONFIG_STRING || o->type == CONFIG_PATH)
            g_clear_pointer(field, g_free);
    }
}
