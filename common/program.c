/* SPDX-License-Identifier: MIT */
#include "program.h"

#include <sysexits.h>

#include "log.h"

void program_clear(struct program *p)
{
    g_free(p->config_path);
    g_free(p->log_level);
}

static void add_common(GOptionContext *context, struct program *p, const struct program_spec *s)
{
    const GOptionEntry entries[] = {
        { "config", 0, 0, G_OPTION_ARG_FILENAME, &p->config_path, s->config_help, "FILE" },
        { "check-config", 0, 0, G_OPTION_ARG_NONE, &p->check_config,
                "Read the configuration, say what is wrong with it, and exit", NULL },
        { "log-level", 0, 0, G_OPTION_ARG_STRING, &p->log_level, "err, warning, notice, info or debug",
                "LEVEL" },
        { "version", 0, 0, G_OPTION_ARG_NONE, &p->version, "Print the version and exit", NULL },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };

    g_option_context_add_main_entries(context, entries, NULL);
}

int program_parse(
        struct program *p, const struct program_spec *s, const GOptionEntry *own, int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;

    log_open(s->name);
    g_option_context_set_summary(context, s->summary);
    g_option_context_add_main_entries(context, own, NULL);
    add_common(context, p, s);
    if (!g_option_context_parse(context, &argc, &argv, &error))
        log_error("%s; see --help", error->message);
    else if (argc > 1)
        log_error("argument %s is not wanted; see --help", argv[1]);
    else if (p->log_level && log_level_from_string(p->log_level) < LOG_ERR)
        log_error("--log-level=%s: not one of err, warning, notice, info, debug", p->log_level);
    else {
        if (!p->version)
            return PROGRAM_GOES_ON;
        printf("%s " VMTIDE_VERSION "\n", s->name);
        return EXIT_SUCCESS;
    }
    return EX_USAGE;
}

void program_set_log_level(const struct program *p, int configured)
{
    log_set_max_level(p->log_level ? log_level_from_string(p->log_level) : LOG_ERR + configured);
}

int program_take_config(const struct program *p, int status, char *error)
{
    g_autofree char *owned = error;

    if (status != EXIT_SUCCESS) {
        log_error("%s", owned ?: "the configuration cannot be read");
        return status;
    }
    return p->check_config ? EXIT_SUCCESS : PROGRAM_GOES_ON;
}
