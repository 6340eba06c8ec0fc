/* SPDX-License-Identifier: MIT */
#include "promise-store.h"

#include <errno.h>
#include <jansson.h>
#include <sys/stat.h>

#include "host-config.h"
#include "log.h"
#include "macro.h"

/* For each VM: a name of at most 63 bytes, a number of at most 19 digits, and JSON's punctuation. */
#define FILE_MAX (VMS_MAX * 128UL)

char *promise_store_format(GHashTable *promised)
{
    json_t *root = json_object(), *values = json_object();
    GHashTableIter each;
    const uint64_t *bytes;
    const char *name;
    char *text, *copy;

    g_hash_table_iter_init(&each, promised);
    while (g_hash_table_iter_next(&each, (void **)&name, (void **)&bytes))
        (void)json_object_set_new(
                values, name, json_integer((json_int_t)MIN_OF(*bytes, (uint64_t)INT64_MAX)));
    (void)json_object_set_new(root, "version", json_integer(1));
    (void)json_object_set_new(root, "promised", values);
    text = json_dumps(root, JSON_ENSURE_ASCII | JSON_SORT_KEYS | JSON_COMPACT);
    json_decref(root);
    copy = g_strdup(text);
    free(text);
    return copy;
}

static int read_values(const json_t *root, GHashTable *ret_promised)
{
    json_t *values = json_object_get(root, "promised"), *value;
    const char *name;

    if (!json_is_object(root) || json_integer_value(json_object_get(root, "version")) != 1 ||
            !json_is_object(values) || json_object_size(values) > VMS_MAX)
        return -EBADMSG;
    json_object_foreach(values, name, value)
    {
        uint64_t bytes = (uint64_t)json_integer_value(value);

        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return -EBADMSG;
        g_hash_table_insert(ret_promised, g_strdup(name), g_memdup2(&bytes, sizeof(bytes)));
    }
    return 0;
}

static GHashTable *make_table(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

int promise_store_parse(const char *text, size_t len, GHashTable **ret)
{
    g_autoptr(GHashTable) promised = make_table();
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    int r = root ? read_values(root, promised) : -EBADMSG;

    json_decref(root);
    if (r >= 0)
        *ret = g_steal_pointer(&promised);
    return r;
}

static int read_file(const char *path, GHashTable **ret)
{
    g_autofree char *text = NULL;
    struct stat st;
    gsize len;

    if (stat(path, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > FILE_MAX)
        return -EBADMSG;
    if (!g_file_get_contents(path, &text, &len, NULL))
        return -EIO;
    return promise_store_parse(text, len, ret);
}

GHashTable *promise_store_read(const char *path)
{
    GHashTable *promised = NULL;
    int r = path ? read_file(path, &promised) : -ENOENT;

    if (r >= 0)
        return promised;
    if (r != -ENOENT)
        log_warning("cannot use %s: %s; until their QEMUs reply, no memory counts as promised to VMs", path,
                strerror(-r));
    return make_table();
}

int promise_store_write(const char *path, GHashTable *promised, char **ret_error)
{
    g_autofree char *text = promise_store_format(promised);
    g_autoptr(GError) error = NULL;

    if (text && g_file_set_contents(path, text, -1, &error))
        return 0;
    *ret_error = g_strdup(error ? error->message : strerror(ENOMEM));
    return text ? -EIO : -ENOMEM;
}
