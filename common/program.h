/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>

#include "macro.h"

/* What the three daemons have in common before their loop: options, configuration, exit status. */

/* An exit status beside those of <sysexits.h>: there is nothing to end for. */
#define PROGRAM_GOES_ON (-1)

struct program_spec {
    const char *name;
    const char *summary;
    const char *config_path; /* the default one */
    const char *config_help; /* names it */
};

/* The options that each of them has. Zero-initialise; program_clear(). */
struct program {
    char *config_path; /* NULL: the default */
    char *log_level;   /* a valid one, or NULL */
    gboolean check_config;
    gboolean version;
};

void program_clear(struct program *p);

/* Reads the command line: these options and the daemon's own. Returns PROGRAM_GOES_ON; or EX_USAGE, said, or
 * EXIT_SUCCESS when it was asked for the version. */
int program_parse(
        struct program *p, const struct program_spec *s, const GOptionEntry *own, int argc, char **argv);

/* configured: index from LOG_ERR on, which the command line's goes over. */
void program_set_log_level(const struct program *p, int configured);

/* What becomes of a configuration that was read with this status (0, or one of <sysexits.h> with error, which
 * is freed): PROGRAM_GOES_ON, or the status to end with, said. With --check-config a good one ends with
 * success. */
int program_take_config(const struct program *p, int status, char *error);
