/* SPDX-License-Identifier: MIT */
#include "guard-saved.h"

#include <glib.h>
#include <limits.h>

#include "log.h"
#include "procfile.h"

#define GROUP "Guard"
#define SIZE_MAX_BYTES 4096

int guard_saved_write(const char *path, const struct guard_slice *slices, size_t n)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) error = NULL;

    for (size_t i = 0; i < n; i++)
        if (slices[i].begun)
            g_key_file_set_string(file, GROUP, slices[i].name,
                    guard_line_format((char[GUARD_LINE_TEXT_MAX]){ 0 }, slices[i].limit));
    if (!g_key_file_save_to_file(file, path, &error)) {
        log_debug("guard: %s", error->message);
        return -EIO;
    }
    return 0;
}

static int restore_one(GKeyFile *file, const char *name, const char *cgroup)
{
    g_autofree char *value = g_key_file_get_string(file, GROUP, name, NULL);
    char path[PATH_MAX];
    uint64_t line;
    int r;

    if (!value || !guard_slice_name_is_valid(name) || guard_line_parse(value, &line) < 0)
        return -EBADMSG;
    if (snprintf(path, sizeof(path), "%s/%s/memory.high", cgroup, name) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    r = procfile_write(path, guard_line_pad((char[GUARD_LINE_TEXT_MAX]){ 0 }, line));
    return r == -ENOENT || r == -ENODEV ? 0 : r < 0 ? r : 1;
}

int guard_saved_restore(const char *path, const char *cgroup)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_auto(GStrv) names = NULL;
    char text[SIZE_MAX_BYTES];
    int written = 0, error = 0;
    size_t len;
    int r = procfile_read(path, text, sizeof(text), &len);

    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    if (g_key_file_load_from_data(file, text, len, G_KEY_FILE_NONE, NULL))
        names = g_key_file_get_keys(file, GROUP, NULL, NULL);
    if (!names)
        return -EBADMSG;
    for (size_t i = 0; names[i]; i++) {
        r = restore_one(file, names[i], cgroup);
        if (r < 0 && error == 0)
            error = r;
        written += r > 0;
    }
    if (error < 0)
        return error;
    return unlink(path) < 0 && errno != ENOENT ? -errno : written;
}
