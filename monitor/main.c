/* SPDX-License-Identifier: MIT */
#include <glib.h>
#include <sysexits.h>

#include "log.h"
#include "monitor-bus.h"
#include "monitor-config.h"
#include "monitor.h"
#include "names.h"
#include "program.h"
#include "record.h"
#include "service.h"

#define DEFAULT_CONFIG "/etc/vmtide/monitor.conf"

static const struct program_spec spec = {
    .name = "vmtide-monitor",
    .summary =
            "Watches the guest's memory, decides when to plug and unplug, and asks vmtide-actuator to do it.",
    .config_path = DEFAULT_CONFIG,
    .config_help = "Configuration (default " DEFAULT_CONFIG ")",
};

/* The program's options and objects; a reload uses them. */
struct monitor_program {
    struct program common;
    char *procfs;
    char *cgroupfs;
    char *socket;
    char *bus_address;
    char *record;

    struct monitor_config config;
    struct recorder *recorder;
    struct monitor *monitor;
    struct monitor_bus *bus;
};

static void monitor_program_clear(struct monitor_program *p)
{
    p->bus = monitor_bus_free(p->bus);
    p->monitor = monitor_free(p->monitor);
    p->recorder = recorder_free(p->recorder);
    program_clear(&p->common);
    g_free(p->procfs);
    g_free(p->cgroupfs);
    g_free(p->socket);
    g_free(p->bus_address);
    g_free(p->record);
}

static int parse_options(struct monitor_program *p, int argc, char **argv)
{
    const GOptionEntry entries[] = {
        { "socket", 0, 0, G_OPTION_ARG_FILENAME, &p->socket,
                "The actuator's socket (default " ACTUATOR_SOCKET ")", "PATH" },
        { "bus", 0, 0, G_OPTION_ARG_STRING, &p->bus_address, "D-Bus address (default: the system bus)",
                "ADDRESS" },
        { "procfs", 0, 0, G_OPTION_ARG_FILENAME, &p->procfs,
                "Where to read memory statistics (default /proc)", "DIR" },
        { "cgroupfs", 0, 0, G_OPTION_ARG_FILENAME, &p->cgroupfs,
                "Where the cgroup v2 hierarchy is (default /sys/fs/cgroup)", "DIR" },
        { "record", 0, 0, G_OPTION_ARG_FILENAME, &p->record,
                "Write each sample and decision as a line of CSV to a new file, for vmtide-replay; fails "
                "when FILE exists",
                "FILE" },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };

    return program_parse(&p->common, &spec, entries, argc, argv);
}

/* Returns EXIT_SUCCESS, or EX_CONFIG for an invalid configuration. */
static int load_config(const struct monitor_program *p, struct monitor_config *ret, char **ret_error)
{
    const char *path = p->common.config_path;

    return monitor_config_load(path ?: spec.config_path, !path, ret, ret_error) < 0 ? EX_CONFIG
                                                                                    : EXIT_SUCCESS;
}

static int start_recording(struct monitor_program *p)
{
    int r = p->record ? recorder_open(p->record, &p->recorder) : 0;

    if (r == -EEXIST)
        log_error("--record=%s: the file exists; remove it or name another file", p->record);
    else if (r < 0)
        log_error("--record=%s: %s", p->record, strerror(-r));
    return r;
}

static int on_reload(void *userdata, char **ret_error)
{
    struct monitor_program *p = userdata;
    struct monitor_config c;
    int status = load_config(p, &c, ret_error);

    if (status != EXIT_SUCCESS)
        return status;
    p->config = c;
    program_set_log_level(&p->common, c.log_level);
    monitor_configure(p->monitor, &c);
    return EXIT_SUCCESS;
}

/* Returns the exit status. */
static int run(struct monitor_program *p)
{
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;
    int r = service_event_new(on_reload, p, &event);

    if (r >= 0)
        r = monitor_new(event,
                &(struct monitor_options){
                        .config = &p->config,
                        .procfs = p->procfs ?: "/proc",
                        .cgroup = p->cgroupfs ?: "/sys/fs/cgroup",
                        .socket = p->socket ?: ACTUATOR_SOCKET,
                        .recorder = p->recorder,
                },
                &p->monitor);
    if (r >= 0)
        r = monitor_bus_new(event, p->monitor, p->bus_address, &p->bus);
    if (r < 0) {
        log_error("cannot start: %s", strerror(-r));
        return EXIT_FAILURE;
    }
    service_lock_memory();
    return service_run(event);
}

static int program_main(struct monitor_program *p, int argc, char **argv)
{
    char *error = NULL;
    int status = parse_options(p, argc, argv);

    if (status == PROGRAM_GOES_ON) {
        status = load_config(p, &p->config, &error);
        status = program_take_config(&p->common, status, error);
    }
    if (status != PROGRAM_GOES_ON)
        return status;
    program_set_log_level(&p->common, p->config.log_level);
    if (start_recording(p) < 0)
        return EX_CANTCREAT;
    return run(p);
}

int main(int argc, char **argv)
{
    struct monitor_program p = { 0 };
    int status = program_main(&p, argc, argv);

    monitor_program_clear(&p);
    return status;
}
