/* SPDX-License-Identifier: MIT */
#pragma once

#include "log.h"

/* One vm sysctl that the actuator changes and puts back. The administrator's value is kept in a file below
 * /run before the first write, so that `vmtide-actuator --disarm` can restore it after a kill; after a reboot
 * file and change are both gone. Links without libsystemd. */

enum kernel_setting_id {
    KERNEL_SETTING_OVERCOMMIT,
    KERNEL_SETTING_RESERVE_RATIO,
    _KERNEL_SETTING_MAX,
    _KERNEL_SETTING_INVALID = -EINVAL,
};
const char *kernel_setting_to_string(enum kernel_setting_id id);

#define KERNEL_NUMBERS_MAX 8u
/* Room for KERNEL_NUMBERS_MAX numbers of 32 bits with blanks. */
#define KERNEL_NUMBERS_TEXT_MAX 96u

struct kernel_numbers {
    size_t n;
    uint32_t values[KERNEL_NUMBERS_MAX];
};

/* "256 256 32 0 0", separated by blanks or tabs; the first line counts. -EBADMSG, -ERANGE. */
int kernel_numbers_parse(const char *text, struct kernel_numbers *ret);
const char *kernel_numbers_format(char buf[static KERNEL_NUMBERS_TEXT_MAX], const struct kernel_numbers *v);
#define FORMAT_NUMBERS(v) kernel_numbers_format((char[KERNEL_NUMBERS_TEXT_MAX]){ 0 }, (v))
bool kernel_numbers_equal(const struct kernel_numbers *a, const struct kernel_numbers *b);

struct kernel_setting {
    bool ours;                    /* the actuator's value is in force */
    bool yielded;                 /* the administrator has changed ours: his value stands */
    struct kernel_numbers admin;  /* to restore; valid while ours */
    struct kernel_numbers before; /* the actuator's value before the one in force; n is 0: none */
    struct kernel_numbers written;
};

struct kernel_state {
    const char *procfs; /* "/proc" */
    const char *path;   /* of the file, "/run/vmtide/kernel" */
    struct kernel_setting settings[_KERNEL_SETTING_MAX];
};

/* -ENOENT: this kernel does not have it. */
int kernel_setting_read(
        const struct kernel_state *s, enum kernel_setting_id id, struct kernel_numbers *ret_numbers);

/* The value that the administrator wants: the one in force, or the one that ours has replaced. Finds out
 * whether he has changed ours meanwhile; then the setting is left alone until kernel_setting_restore(). */
int kernel_setting_admin(
        struct kernel_state *s, enum kernel_setting_id id, struct kernel_numbers *ret_numbers);

/* Puts a value into force; the administrator's own ends the change. Returns 1 when something was written, 0
 * when it was not necessary or the setting has yielded. */
int kernel_setting_apply(
        struct kernel_state *s, enum kernel_setting_id id, const struct kernel_numbers *wanted);

/* Writes the administrator's value back unless he has changed ours. Returns 1 when it was written. */
int kernel_setting_restore(struct kernel_state *s, enum kernel_setting_id id);

/* Restores what the file names, and removes it. No such file: there is nothing to do. Returns how many
 * settings were written, or the first error after having tried all. */
int kernel_state_restore(const char *path, const char *procfs);
