/* SPDX-License-Identifier: MIT */
#include "overrides.h"

#include <glib.h>

#include "log.h"
#include "saved-file.h"
#include "share.h"

#define GROUP_PREFIX "VM "

struct overrides {
    char *path;
    GHashTable *in_force; /* name → struct override */
    GKeyFile *saved;      /* what the file has */
    char *unreadable;     /* why it is not to be written over; NULL: it may be */
};

static bool get_number(GKeyFile *file, const char *group, const char *key, uint64_t *ret)
{
    g_autoptr(GError) error = NULL;
    uint64_t value = g_key_file_get_uint64(file, group, key, &error);

    if (error)
        return false;
    *ret = value;
    return true;
}

/* -EBADMSG: what nobody here has written. */
static int read_group(GKeyFile *file, const char *group, struct override *ret)
{
    struct override one = { 0 };
    uint64_t weight = 0;

    one.has_limits = get_number(file, group, "MinSize", &one.min_size) &&
                     get_number(file, group, "MaxSize", &one.max_size);
    one.has_weight = get_number(file, group, "Weight", &weight);
    if (!g_str_has_prefix(group, GROUP_PREFIX) || one.min_size > one.max_size ||
            (one.has_weight && (weight == 0 || weight > SHARE_WEIGHT_MAX)) ||
            (!one.has_limits && !one.has_weight))
        return -EBADMSG;
    one.weight = (uint32_t)weight;
    *ret = one;
    return 0;
}

static void read_saved(struct overrides *o)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) groups = NULL;

    if (!g_key_file_load_from_file(o->saved, o->path, G_KEY_FILE_NONE, &error)) {
        if (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return;
        log_warning(
                "%s cannot be read: %s; the configuration's limits are in force", o->path, error->message);
        o->unreadable = g_strdup(error->message);
        return;
    }
    groups = g_key_file_get_groups(o->saved, NULL);
    for (unsigned i = 0; groups[i]; i++) {
        struct override one;

        if (g_hash_table_size(o->in_force) == OVERRIDES_MAX || read_group(o->saved, groups[i], &one) < 0) {
            log_warning("%s: group [%s] makes no sense; the configuration's limits are in force", o->path,
                    groups[i]);
            (void)g_key_file_remove_group(o->saved, groups[i], NULL);
            continue;
        }
        g_hash_table_insert(
                o->in_force, g_strdup(groups[i] + strlen(GROUP_PREFIX)), g_memdup2(&one, sizeof(one)));
    }
}

struct overrides *overrides_new(const char *path)
{
    struct overrides *o = g_new0(struct overrides, 1);

    o->path = g_strdup(path);
    o->in_force = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    o->saved = g_key_file_new();
    if (path)
        read_saved(o);
    return o;
}

struct overrides *overrides_free(struct overrides *o)
{
    if (!o)
        return NULL;
    g_hash_table_unref(o->in_force);
    g_key_file_unref(o->saved);
    g_free(o->path);
    g_free(o->unreadable);
    g_free(o);
    return NULL;
}

void overrides_get(const struct overrides *o, const char *name, struct override *ret)
{
    const struct override *one = g_hash_table_lookup(o->in_force, name);

    *ret = one ? *one : (struct override){ 0 };
}

static void put_group(GKeyFile *file, const char *group, enum override_part parts, const struct override *one)
{
    g_auto(GStrv) keys = NULL;

    if (parts & OVERRIDE_LIMITS) {
        (void)g_key_file_remove_key(file, group, "MinSize", NULL);
        (void)g_key_file_remove_key(file, group, "MaxSize", NULL);
    }
    if (parts & OVERRIDE_WEIGHT)
        (void)g_key_file_remove_key(file, group, "Weight", NULL);
    if ((parts & OVERRIDE_LIMITS) && one->has_limits) {
        g_key_file_set_uint64(file, group, "MinSize", one->min_size);
        g_key_file_set_uint64(file, group, "MaxSize", one->max_size);
    }
    if ((parts & OVERRIDE_WEIGHT) && one->has_weight)
        g_key_file_set_uint64(file, group, "Weight", one->weight);
    keys = g_key_file_get_keys(file, group, NULL, NULL);
    if (keys && !keys[0])
        (void)g_key_file_remove_group(file, group, NULL);
}

/* A copy is changed, so that what cannot be saved has changed nothing. */
static int save_one(struct overrides *o, const char *name, enum override_part parts,
        const struct override *one, char **ret_error)
{
    g_autofree char *text = g_key_file_to_data(o->saved, NULL, NULL);
    g_autofree char *group = g_strconcat(GROUP_PREFIX, name, NULL);
    g_autoptr(GKeyFile) file = g_key_file_new();
    int r;

    if (o->unreadable && access(o->path, F_OK) == 0) {
        *ret_error = g_strdup_printf("%s could not be read (%s) and would be lost: mend it or take it away, "
                                     "and restart the daemon",
                o->path, o->unreadable);
        return -EIO;
    }
    if (*text)
        (void)g_key_file_load_from_data(file, text, strlen(text), G_KEY_FILE_NONE, NULL);
    put_group(file, group, parts, one);
    r = saved_file_write(o->path, file, ret_error);
    if (r < 0)
        return r;
    g_key_file_unref(o->saved);
    o->saved = TAKE_PTR(file);
    return 0;
}

/* The part that is not set stays as it is in force. */
static struct override merge(
        const struct overrides *o, const char *name, enum override_part parts, const struct override *one)
{
    struct override all;

    overrides_get(o, name, &all);
    if (parts & OVERRIDE_LIMITS) {
        all.has_limits = one->has_limits;
        all.min_size = one->min_size;
        all.max_size = one->max_size;
    }
    if (parts & OVERRIDE_WEIGHT) {
        all.has_weight = one->has_weight;
        all.weight = one->weight;
    }
    return all;
}

int overrides_set(struct overrides *o, const char *name, enum override_part parts, const struct override *one,
        bool persist, char **ret_error)
{
    struct override all = merge(o, name, parts, one);
    bool is_new = !g_hash_table_contains(o->in_force, name);

    if (is_new && g_hash_table_size(o->in_force) == OVERRIDES_MAX) {
        *ret_error = g_strdup_printf("limits of %u VMs are set already: take the groups of VMs that are "
                                     "gone out of %s, and restart the daemon",
                OVERRIDES_MAX, o->path ?: "the saved ones");
        return -EIO;
    }
    if (persist && !o->path) {
        *ret_error = g_strdup("there is no file to keep them in");
        return -EIO;
    }
    if (persist && save_one(o, name, parts, one, ret_error) < 0)
        return -EIO;
    if (all.has_limits || all.has_weight)
        g_hash_table_insert(o->in_force, g_strdup(name), g_memdup2(&all, sizeof(all)));
    else
        (void)g_hash_table_remove(o->in_force, name);
    return 0;
}
