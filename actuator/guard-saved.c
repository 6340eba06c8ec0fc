/* SPDX-License-Identifier: MIT */
#include "guard-saved.h"

#include <glib.h>
#include <limits.h>

#include "log.h"
#include "procfile.h"

#define GROUP "Guard"
/* 64 cgroups with names of 255 bytes, each byte escaped. */
#define SIZE_MAX_BYTES (64 * 1024)

/* A key may hold no "=", "[" or space at its end; a directory's name may. Names that systemd gives stay as
 * they are. */
static char *key_of(const char *name)
{
    return g_uri_escape_string(name, ":@", false);
}

int guard_saved_write(const char *path, const struct guard_cgroup *cgroups, size_t n)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) error = NULL;

    for (size_t i = 0; i < n; i++) {
        g_autofree char *key = key_of(cgroups[i].name);

        if (cgroups[i].begun)
            g_key_file_set_string(
                    file, GROUP, key, guard_line_format((char[GUARD_LINE_TEXT_MAX]){ 0 }, cgroups[i].limit));
    }
    if (!g_key_file_save_to_file(file, path, &error)) {
        log_debug("guard: %s", error->message);
        return -EIO;
    }
    return 0;
}

static int restore_one(GKeyFile *file, const char *key, const char *cgroup)
{
    g_autofree char *value = g_key_file_get_string(file, GROUP, key, NULL);
    g_autofree char *name = g_uri_unescape_string(key, "/");
    char path[PATH_MAX];
    uint64_t line;
    int r;

    if (!value || !name || !guard_cgroup_name_is_valid(name) || guard_line_parse(value, &line) < 0)
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
    g_autofree char *text = g_malloc(SIZE_MAX_BYTES);
    int written = 0, error = 0;
    size_t len;
    int r = procfile_read(path, text, SIZE_MAX_BYTES, &len);

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
