/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>

/* Writes a key file that is replaced whole or not at all, and is on the disk when this returns. -EIO with
 * *ret_error (g_free). */
int saved_file_write(const char *path, GKeyFile *file, char **ret_error);
