/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>

#include "macro.h"

/* "/etc/vmtide/host.conf" has its drop-ins in "/etc/vmtide/host.d"; g_free() it. */
char *drop_ins_folder(const char *path);

/* Names of the *.conf in a folder, sorted, as systemd reads its own; none when there is no folder. -EIO with
 * *ret_error (g_free). */
int drop_ins_list(const char *folder, GPtrArray **ret, char **ret_error);
