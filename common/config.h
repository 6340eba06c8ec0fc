/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

enum config_type {
    CONFIG_BYTES,  /* uint64_t, "1.5G" */
    CONFIG_UINT,   /* uint32_t */
    CONFIG_BOOL,   /* bool: yes/no/true/false/on/off/1/0 */
    CONFIG_STRING, /* char *, g_free()d by config_clear() */
    CONFIG_PATH,   /* the same; an absolute path that fits a socket's address */
    CONFIG_ENUM,   /* int, index in names[] */
    CONFIG_USEC,   /* uint64_t, "100ms", "5s", "2min", plain number = seconds */
    _CONFIG_TYPE_MAX,
    _CONFIG_TYPE_INVALID = -EINVAL,
};

/* One option: where it stands in the file and in the struct it fills. A row with group NULL ends a table. */
struct config_option {
    const char *group;
    const char *key;
    enum config_type type;
    size_t offset;
    uint64_t min; /* inclusive, for BYTES, UINT and USEC; both 0: no bound */
    uint64_t max;
    const char *const *names; /* ENUM: NULL-terminated */
};

/* Called for a group that is in no row of the table ("VM guest1"): 0 takes it, -ENOENT refuses it as unknown.
 * May return a target for its keys, which are then looked up in *ret_table. */
typedef int (*config_group_t)(
        const char *group, void *userdata, const struct config_option **ret_table, void **ret_target);

/* Reads a file of [Group] and Key=Value lines strictly: an unknown group or key, a duplicate key or group, a
 * value out of bounds are refused, the whole file with them; *error then names file, line, group, key and
 * value (g_free() it). The target may be half filled: fill a copy with defaults first and publish it when
 * this returns 0. -ENOENT: no such file. */
int config_load(const char *path, const struct config_option *table, void *target, config_group_t on_group,
        void *userdata, char **ret_error);
/* Same on text, name is for messages only. */
int config_parse(const char *name, const char *text, const struct config_option *table, void *target,
        config_group_t on_group, void *userdata, char **ret_error);
/* Sets one value as a line of the file would; for command lines and D-Bus. */
int config_set(const struct config_option *o, void *target, const char *value, char **ret_error);
/* Frees the strings of a target. */
void config_clear(const struct config_option *table, void *target);
