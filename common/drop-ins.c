/* SPDX-License-Identifier: MIT */
#include "drop-ins.h"

char *drop_ins_folder(const char *path)
{
    g_autofree char *stem = g_str_has_suffix(path, ".conf") ? g_strndup(path, strlen(path) - strlen(".conf"))
                                                            : g_strdup(path);

    return g_strconcat(stem, ".d", NULL);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int drop_ins_list(const char *folder, GPtrArray **ret, char **ret_error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    GDir *dir = g_dir_open(folder, 0, &error);
    const char *name;

    if (!dir && !g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
        *ret_error = g_strdup_printf("%s", error->message);
        return -EIO;
    }
    while (dir && (name = g_dir_read_name(dir)))
        if (g_str_has_suffix(name, ".conf") && name[0] != '.')
            g_ptr_array_add(names, g_strdup(name));
    if (dir)
        g_dir_close(dir);
    g_ptr_array_sort(names, compare_names);
    *ret = TAKE_PTR(names);
    return 0;
}
