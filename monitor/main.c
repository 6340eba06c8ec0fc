/* SPDX-License-Identifier: MIT */
#include <glib.h>
#include <sysexits.h>

#include "log.h"
#include "monitor-bus.h"
#include "monitor-config.h"
#include "monitor.h"
#include "names.h"
#include "record.h"
#include "service.h"

#define CONFIG_PATH "/etc/vmtide/monitor.conf"

/* What a reload needs. */
struct program {
    char *config_path;
    char *procfs;
    char *socket;
    char *bus_address;
    char *log_level;
    char *record;
    gboolean version;

    struct monitor_config config;
    struct recorder *recorder;
    struct monitor *monitor;
    struct monitor_bus *bus;
};

static void program_clear(struct program *p)
{
    p->bus = monitor_bus_free(p->bus);
    p->monitor = monitor_free(p->monitor);
    p->recorder = recorder_free(p->recorder);
    g_free(p->config_path);
    g_free(p->procfs);
    g_free(p->socket);
    g_free(p->bus_address);
    g_free(p->log_level);
    g_free(p->record);
}

static int parse_options(struct program *p, int *argc, char ***argv)
{
    const GOptionEntry entries[] = {
        { "config", 0, 0, G_OPTION_ARG_FILENAME, &p->config_path, "Configuration (default " CONFIG_PATH ")",
                "FILE" },
        { "log-level", 0, 0, G_OPTION_ARG_STRING, &p->log_level, "err, warning, notice, info or debug",
                "LEVEL" },
        { "socket", 0, 0, G_OPTION_ARG_FILENAME, &p->socket,
                "The actuator's socket (default " ACTUATOR_SOCKET ")", "PATH" },
        { "bus", 0, 0, G_OPTION_ARG_STRING, &p->bus_address, "D-Bus address (default: the system bus)",
                "ADDRESS" },
        { "procfs", 0, 0, G_OPTION_ARG_FILENAME, &p->procfs,
                "Where to read memory statistics (default /proc)", "DIR" },
        { "record", 0, 0, G_OPTION_ARG_FILENAME, &p->record,
                "Write each sample and decision as a line of CSV into a new file, for vmtide-replay; one "
                "that is "
                "there already is refused",
                "FILE" },
        { "version", 0, 0, G_OPTION_ARG_NONE, &p->version, "Print the version and exit", NULL },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;

    g_option_context_set_summary(context, "Watches the guest's memory, decides when to plug and unplug, and "
                                          "asks vmtide-actuator to do it.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, &error)) {
        log_error("%s; see --help", error->message);
        return -EINVAL;
    }
    if (*argc > 1) {
        log_error("argument %s is not wanted; see --help", (*argv)[1]);
        return -EINVAL;
    }
    return 0;
}

static int load_config(const struct program *p, struct monitor_config *ret)
{
    g_autofree char *error = NULL;
    const char *path = p->config_path ?: CONFIG_PATH;
    int r = monitor_config_load(path, !p->config_path, ret, &error);

    if (r < 0)
        log_error("%s", error ?: strerror(-r));
    return r;
}

static int set_log_level(const struct program *p, const struct monitor_config *c)
{
    int level = LOG_ERR + c->log_level;

    if (p->log_level) {
        level = log_level_from_string(p->log_level);
        if (level < LOG_ERR) {
            log_error("--log-level=%s: not one of err, warning, notice, info, debug", p->log_level);
            return -EINVAL;
        }
    }
    log_set_max_level(level);
    return 0;
}

static int start_recording(struct program *p)
{
    int r = p->record ? recorder_open(p->record, &p->recorder) : 0;

    if (r == -EEXIST)
        log_error("--record=%s: the file is there already; remove it or name another", p->record);
    else if (r < 0)
        log_error("--record=%s: %s", p->record, strerror(-r));
    return r;
}

static void on_reload(void *userdata)
{
    struct program *p = userdata;
    struct monitor_config c;

    if (load_config(p, &c) < 0) {
        log_error("the configuration in force stays");
        return;
    }
    p->config = c;
    (void)set_log_level(p, &c);
    monitor_configure(p->monitor, &c);
    log_info("configuration loaded again");
}

static int run(struct program *p)
{
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;
    int r = service_event_new(on_reload, p, &event);

    if (r >= 0)
        r = monitor_new(event,
                &(struct monitor_options){
                        .config = &p->config,
                        .procfs = p->procfs ?: "/proc",
                        .socket = p->socket ?: ACTUATOR_SOCKET,
                        .recorder = p->recorder,
                },
                &p->monitor);
    if (r >= 0)
        r = monitor_bus_new(event, p->monitor, p->bus_address, &p->bus);
    if (r < 0) {
        log_error("cannot start: %s", strerror(-r));
        return r;
    }
    service_lock_memory();
    return service_run(event);
}

static int program_main(struct program *p, int argc, char **argv)
{
    if (parse_options(p, &argc, &argv) < 0)
        return EX_USAGE;
    if (p->version) {
        puts("vmtide-monitor " VMTIDE_VERSION);
        return EXIT_SUCCESS;
    }
    if (load_config(p, &p->config) < 0)
        return EX_CONFIG;
    if (set_log_level(p, &p->config) < 0)
        return EX_USAGE;
    if (start_recording(p) < 0)
        return EX_CANTCREAT;
    return run(p) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct program p = { 0 };
    int status;

    log_open("vmtide-monitor");
    status = program_main(&p, argc, argv);
    program_clear(&p);
    return status;
}
