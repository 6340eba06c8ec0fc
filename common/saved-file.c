/* SPDX-License-Identifier: MIT */
#include "saved-file.h"

#include "macro.h"

int saved_file_write(const char *path, GKeyFile *file, char **ret_error)
{
    g_autofree char *text = NULL, *folder = g_path_get_dirname(path);
    g_autoptr(GError) error = NULL;
    gsize len;

    text = g_key_file_to_data(file, &len, NULL);
    /* The unit's StateDirectory= makes the folder; this is for other ways to run it. */
    (void)g_mkdir_with_parents(folder, 0755);
    if (g_file_set_contents_full(path, text, (gssize)len,
                G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0644, &error))
        return 0;
    *ret_error = g_strdup(error->message);
    return -EIO;
}
