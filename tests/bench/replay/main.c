/* SPDX-License-Identifier: MIT */
/* vmtide-replay runs the monitor's decision on a recording of a guest's demand. */
#include <glib.h>
#include <sysexits.h>

#include "config.h"
#include "output.h"

/* No usable host has a latency above a minute; an unplug below 1 MiB/s would not end within a recording. */
static const struct config_option options[] = {
    { "Replay", "boot", CONFIG_BYTES, offsetof(struct replay_options, model.boot), MIB(256), GIB(16384),
            NULL },
    { "Replay", "max", CONFIG_BYTES, offsetof(struct replay_options, model.max), 0, GIB(16384), NULL },
    { "Replay", "profile", CONFIG_ENUM, offsetof(struct replay_options, profile), 0, 0,
            decide_profile_names },
    { "Replay", "policy", CONFIG_ENUM, offsetof(struct replay_options, policy), 0, 0, policy_names },
    { "Replay", "plug-latency", CONFIG_USEC, offsetof(struct replay_options, model.plug_latency), 0,
            60 * USEC_PER_SEC, NULL },
    { "Replay", "unplug-rate", CONFIG_BYTES, offsetof(struct replay_options, model.unplug_rate), MIB(1),
            GIB(1024), NULL },
    { "Replay", "unplug-fail", CONFIG_UINT, offsetof(struct replay_options, model.unplug_fail), 0, 100,
            NULL },
    { "Replay", "kernel-part", CONFIG_UINT, offsetof(struct replay_options, model.kernel_part), 0, 100,
            NULL },
};

struct program {
    char *values[ELEMENTSOF(options)];
    char *csv;
    char *plot;
    gboolean version;
    char *trace;
    struct replay_options options;
};

static void program_clear(struct program *p)
{
    for (size_t i = 0; i < ELEMENTSOF(options); i++)
        g_free(p->values[i]);
    g_free(p->csv);
    g_free(p->plot);
    g_free(p->trace);
}

static int parse_options(struct program *p, int *argc, char ***argv)
{
    char **v = p->values;
    const GOptionEntry entries[] = {
        { "boot", 0, 0, G_OPTION_ARG_STRING, &v[0], "Boot memory", "BYTES" },
        { "max", 0, 0, G_OPTION_ARG_STRING, &v[1], "Memory of the device", "BYTES" },
        { "profile", 0, 0, G_OPTION_ARG_STRING, &v[2], "conservative, balanced (default) or eager", "NAME" },
        { "policy", 0, 0, G_OPTION_ARG_STRING, &v[3],
                "Policy that resizes: vmtide (default), or for comparison fixed, hyperalloc-rule, proxmox, "
                "mom, balancer, neon",
                "NAME" },
        { "plug-latency", 0, 0, G_OPTION_ARG_STRING, &v[4],
                "Time from the request to the plugged memory (default 100ms)", "TIME" },
        { "unplug-rate", 0, 0, G_OPTION_ARG_STRING, &v[5], "Bytes unplugged per second (default 1G)",
                "BYTES" },
        { "unplug-fail", 0, 0, G_OPTION_ARG_STRING, &v[6], "Share of unplugs that get stuck (default 0)",
                "PERCENT" },
        { "kernel-part", 0, 0, G_OPTION_ARG_STRING, &v[7],
                "Share of used memory that is the kernel's (default 5)", "PERCENT" },
        { "csv", 0, 0, G_OPTION_ARG_FILENAME, &p->csv, "Write one row per second", "FILE" },
        { "plot", 0, 0, G_OPTION_ARG_FILENAME, &p->plot, "Draw the demand and the memory that the guest held",
                "FILE.svg" },
        { "version", 0, 0, G_OPTION_ARG_NONE, &p->version, "Print the version and exit", NULL },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };
    g_autoptr(GOptionContext) context = g_option_context_new("TRACE.csv");
    g_autoptr(GError) error = NULL;

    g_option_context_set_summary(context,
            "Runs the monitor's decision on a recording of a guest's demand. Prints the memory that the "
            "guest held, the demand that exceeded it and the demand that waited at the guard's line. The "
            "recording is a CSV file with the columns time_s, used_bytes and cached_bytes, as "
            "vmtide-monitor --record writes it.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, &error)) {
        fprintf(stderr, "vmtide-replay: %s; see --help\n", error->message);
        return -EINVAL;
    }
    return 0;
}

static int take_values(struct program *p)
{
    p->options = (struct replay_options){
        .model = { .plug_latency = 100 * USEC_PER_MSEC, .unplug_rate = GIB(1), .kernel_part = 5 },
        .profile = DECIDE_BALANCED,
    };
    for (size_t i = 0; i < ELEMENTSOF(options); i++) {
        g_autofree char *error = NULL;

        if (!p->values[i])
            continue;
        if (config_set(&options[i], &p->options, p->values[i], &error) < 0) {
            fprintf(stderr, "vmtide-replay: --%s\n", error);
            return -EINVAL;
        }
    }
    if (!p->values[0] || !p->values[1]) {
        fprintf(stderr, "vmtide-replay: --boot and --max are required; see --help\n");
        return -EINVAL;
    }
    return 0;
}

static int write_files(const struct program *p, const struct replay_result *r)
{
    int e = p->csv ? output_csv(p->csv, r) : 0;

    if (e < 0) {
        fprintf(stderr, "vmtide-replay: %s: %s\n", p->csv, strerror(-e));
        return e;
    }
    e = p->plot ? output_plot(p->plot, r) : 0;
    if (e < 0)
        fprintf(stderr, "vmtide-replay: %s: %s\n", p->plot, strerror(-e));
    return e;
}

static int replay(const struct program *p)
{
    _cleanup_(trace_clear) struct trace trace = { 0 };
    _cleanup_(replay_clear) struct replay_result result = { 0 };
    g_autofree char *error = NULL;
    int r = trace_load(p->trace, &trace, &error);

    if (r < 0) {
        fprintf(stderr, "vmtide-replay: %s\n", error);
        return r == -ENOENT || r == -EACCES ? EX_NOINPUT : EX_DATAERR;
    }
    replay_run(&p->options, &trace, &result);
    output_print(stdout, &result);
    if (fflush(stdout) != 0)
        return EX_IOERR;
    return write_files(p, &result) < 0 ? EX_CANTCREAT : EXIT_SUCCESS;
}

static int program_main(struct program *p, int argc, char **argv)
{
    if (parse_options(p, &argc, &argv) < 0)
        return EX_USAGE;
    if (p->version) {
        puts("vmtide-replay " VMTIDE_VERSION);
        return EXIT_SUCCESS;
    }
    if (argc != 2) {
        fprintf(stderr, "vmtide-replay: exactly one recording is required; see --help\n");
        return EX_USAGE;
    }
    p->trace = g_strdup(argv[1]);
    return take_values(p) < 0 ? EX_USAGE : replay(p);
}

int main(int argc, char **argv)
{
    struct program p = { 0 };
    int status = program_main(&p, argc, argv);

    program_clear(&p);
    return status;
}
