/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>
#include <stdint.h>

/* The memory promised to each VM, kept over a restart of the daemon, which knows nothing else of a VM until
 * its QEMU replies. The file is in /run, since no VM outlives the host. */

#define PROMISE_STORE_PATH "/run/vmtide-host/promised"

/* Formats the table (name → uint64_t *, bytes) as JSON: {"version": 1, "promised": {NAME: BYTES, …}}. Returns
 * a string to g_free(), NULL without memory. */
char *promise_store_format(GHashTable *promised);
/* Parses that text into a new table (g_hash_table_unref). -EBADMSG: invalid text; *ret is untouched. */
int promise_store_parse(const char *text, size_t len, GHashTable **ret);

/* Reads the file into a new table. Without a file, and with path NULL, the table is empty; so it is for an
 * invalid file, which is logged. */
GHashTable *promise_store_read(const char *path);
/* Replaces the file. Returns negative errno with *ret_error (g_free), and leaves the file unchanged. */
int promise_store_write(const char *path, GHashTable *promised, char **ret_error);
