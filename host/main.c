/* SPDX-License-Identifier: MIT */
#include <glib.h>
#include <sysexits.h>

#include "bytes.h"
#include "host-config.h"
#include "host-bus.h"
#include "log.h"
#include "metrics.h"
#include "overrides.h"
#include "promise-store.h"
#include "program.h"
#include "service.h"

#define DEFAULT_CONFIG "/etc/vmtide/host.conf"

static const struct program_spec spec = {
    .name = "vmtide-host",
    .summary = "Grants memory to virtual machines: their guests ask over a channel, QEMU is told over QMP, "
               "and the "
               "limits hold whatever a guest says.",
    .config_path = DEFAULT_CONFIG,
    .config_help = "Configuration (default " DEFAULT_CONFIG ")",
};

/* What a reload needs. */
struct host_program {
    struct program common;
    char *procfs;
    char *host_reserve;
    char *bus_address;
    char *limits_saved;
    char *promises_saved;
    char **vms;

    struct host *host;
    struct host_bus *bus;
    struct metrics *metrics;
};

static void host_program_clear(struct host_program *p)
{
    p->metrics = metrics_free(p->metrics);
    p->bus = host_bus_free(p->bus);
    p->host = host_free(p->host);
    program_clear(&p->common);
    g_free(p->procfs);
    g_free(p->host_reserve);
    g_free(p->bus_address);
    g_free(p->limits_saved);
    g_free(p->promises_saved);
    g_strfreev(p->vms);
}

static int parse_options(struct host_program *p, int argc, char **argv)
{
    const GOptionEntry entries[] = {
        { "vm", 0, 0, G_OPTION_ARG_STRING_ARRAY, &p->vms,
                "A VM besides those of the configuration: NAME,channel=PATH,qmp=PATH,device=ID[+ID…], or "
                "NAME,domain=NAME"
                "[,min=SIZE][,max=SIZE]; repeatable",
                "VM" },
        { "host-reserve", 0, 0, G_OPTION_ARG_STRING, &p->host_reserve,
                "Host memory that is never granted (instead of HostReserve=)", "SIZE" },
        { "bus", 0, 0, G_OPTION_ARG_STRING, &p->bus_address, "D-Bus address (default: the system bus)",
                "ADDRESS" },
        { "limits-state", 0, 0, G_OPTION_ARG_FILENAME, &p->limits_saved,
                "Where limits that were set to stay are kept (default " OVERRIDES_PATH ")", "FILE" },
        { "promises-state", 0, 0, G_OPTION_ARG_FILENAME, &p->promises_saved,
                "File of the memory promised to each VM (default " PROMISE_STORE_PATH ")", "FILE" },
        { "procfs", 0, 0, G_OPTION_ARG_FILENAME, &p->procfs,
                "Where meminfo and PID/statm are read (default /proc; another one is for tests)", "DIR" },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };

    return program_parse(&p->common, &spec, entries, argc, argv);
}

/* The default file may be missing when VMs are named on the command line. */
static const char *choose_config(const struct host_program *p)
{
    if (p->common.config_path)
        return p->common.config_path;
    return p->vms && access(spec.config_path, F_OK) < 0 && errno == ENOENT ? NULL : spec.config_path;
}

static int take_reserve(const struct host_program *p, struct host_config *c, char **ret_error)
{
    g_autofree char *meminfo = g_build_filename(p->procfs ?: "/proc", "meminfo", NULL);

    if (p->host_reserve && bytes_parse(p->host_reserve, &c->host_reserve) < 0) {
        *ret_error = g_strdup_printf("--host-reserve=%s: not a size, such as 512M or 1.5G", p->host_reserve);
        return EX_USAGE;
    }
    if (host_config_check_reserve(c->host_reserve, meminfo, ret_error) < 0)
        return p->host_reserve ? EX_USAGE : EX_CONFIG;
    return EXIT_SUCCESS;
}

/* EXIT_SUCCESS, or the status that a wrong file or a wrong command line ends with. */
static int load_config(const struct host_program *p, struct host_config **ret, char **ret_error)
{
    _cleanup_(host_config_freep) struct host_config *c = NULL;
    int status;

    if (host_config_load(choose_config(p), &c, ret_error) < 0)
        return EX_CONFIG;
    if (host_config_add_vms(c, p->vms, ret_error) < 0)
        return EX_USAGE;
    if (host_config_check_vsock(c, ret_error) < 0)
        return p->vms ? EX_USAGE : EX_CONFIG;
    status = take_reserve(p, c, ret_error);
    if (status == EXIT_SUCCESS)
        *ret = TAKE_PTR(c);
    return status;
}

/* None is no fault: they come with the configuration's next load. */
static void say_what_is_served(const struct host_config *c)
{
    if (c->all_domains)
        log_info("serving libvirt's domains as they come, and %u VMs by name, host reserve %s", c->vms->len,
                FORMAT_BYTES(c->host_reserve));
    else if (c->vms->len == 0)
        log_warning("no VM is configured: add a group [VM NAME] to the configuration and reload");
    else
        log_info("serving %u VMs, host reserve %s", c->vms->len, FORMAT_BYTES(c->host_reserve));
}

static int on_reload(void *userdata, char **ret_error)
{
    _cleanup_(host_config_freep) struct host_config *c = NULL;
    struct host_program *p = userdata;
    int status = load_config(p, &c, ret_error);

    if (status != EXIT_SUCCESS)
        return status;
    program_set_log_level(&p->common, c->log_level);
    /* What may fail comes before anything is taken over. */
    if (host_prepare(p->host, c, ret_error) < 0)
        return EX_CONFIG;
    if (p->metrics && metrics_listen(p->metrics, c->metrics_listen, ret_error) < 0) {
        host_abandon(p->host);
        return EX_CONFIG;
    }
    host_configure(p->host, c);
    say_what_is_served(c);
    return EXIT_SUCCESS;
}

/* The exit status. */
static int run(struct host_program *p, struct host_config *c)
{
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;
    g_autofree char *error = NULL;
    int r = service_event_new(on_reload, p, &event);

    if (r >= 0)
        r = host_new(event, c, p->procfs ?: "/proc", p->limits_saved ?: OVERRIDES_PATH,
                p->promises_saved ?: PROMISE_STORE_PATH, &p->host);
    if (r >= 0)
        r = host_bus_new(event, p->host, p->bus_address, &p->bus);
    if (r >= 0)
        r = metrics_new(event, p->host, &p->metrics);
    if (r < 0) {
        log_error("cannot start: %s", strerror(-r));
        return EXIT_FAILURE;
    }
    if (p->metrics && metrics_listen(p->metrics, c->metrics_listen, &error) < 0) {
        log_error("%s", error);
        return EX_CONFIG;
    }
    say_what_is_served(c);
    service_lock_memory();
    return service_run(event);
}

static int program_main(struct host_program *p, int argc, char **argv)
{
    _cleanup_(host_config_freep) struct host_config *c = NULL;
    char *error = NULL;
    int status = parse_options(p, argc, argv);

    if (status == PROGRAM_GOES_ON) {
        status = load_config(p, &c, &error);
        status = program_take_config(&p->common, status, error);
    }
    if (status != PROGRAM_GOES_ON || !c)
        return status;
    program_set_log_level(&p->common, c->log_level);
    return run(p, c);
}

int main(int argc, char **argv)
{
    struct host_program p = { 0 };
    int status = program_main(&p, argc, argv);

    host_program_clear(&p);
    return status;
}
