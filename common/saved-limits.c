/* SPDX-License-Identifier: MIT */
#include "saved-limits.h"

#include "saved-file.h"

#define GROUP "Limits"

int saved_limits_write(const char *path, uint64_t min, uint64_t max, char **ret_error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();

    g_key_file_set_uint64(file, GROUP, "MinSize", min);
    g_key_file_set_uint64(file, GROUP, "MaxSize", max);
    return saved_file_write(path, file, ret_error);
}

int saved_limits_remove(const char *path, char **ret_error)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    *ret_error = g_strdup_printf("%s: %s", path, strerror(errno));
    return -EIO;
}

static bool get(GKeyFile *file, const char *key, uint64_t *ret)
{
    g_autoptr(GError) error = NULL;
    uint64_t value = g_key_file_get_uint64(file, GROUP, key, &error);

    if (error)
        return false;
    *ret = value;
    return true;
}

int saved_limits_read(const char *path, uint64_t *ret_min, uint64_t *ret_max)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) error = NULL;
    uint64_t min, max;

    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, &error))
        return g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT) ? -ENOENT : -EBADMSG;
    if (!get(file, "MinSize", &min) || !get(file, "MaxSize", &max) || min > max)
        return -EBADMSG;
    *ret_min = min;
    *ret_max = max;
    return 0;
}
