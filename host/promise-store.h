/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>
#include <stdint.h>

/* What the VMs were last known to be promised, kept over a restart of the daemon: until QEMU answers again,
 * this is all that the host knows of a VM. The file lies in /run, since no VM outlives the host. */

#define PROMISE_STORE_PATH "/run/vmtide-host/promised"

/* Text of the file, a JSON object: {"version": 1, "promised": {NAME: BYTES, …}}. promised: name → struct with
 * the bytes as *uint64_t. Returns a string to g_free(). */
char *promise_store_format(GHashTable *promised);
/* Reads such a text into a new table (g_hash_table_unref). -EBADMSG: not such a text; nothing of it is used.
 */
int promise_store_parse(const char *text, size_t len, GHashTable **ret);

/* A table from the file, empty without one. A file that cannot be used is logged and ignored. path NULL:
 * empty. */
GHashTable *promise_store_read(const char *path);
/* Replaces the file. Negative errno. */
int promise_store_write(const char *path, GHashTable *promised);
