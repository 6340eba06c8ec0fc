/* SPDX-License-Identifier: MIT */
#include <glib.h>
#include <sysexits.h>

#include "host.h"
#include "host-config.h"
#include "log.h"
#include "bytes.h"
#include "service.h"

#define CONFIG_PATH "/etc/vmtide/host.conf"

/* What a reload needs. */
struct program {
    char *config_path;
    char *procfs;
    char *log_level;
    char *host_reserve;
    char **vms;
    gboolean version;

    struct host *host;
};

static void program_clear(struct program *p)
{
    p->host = host_free(p->host);
    g_free(p->config_path);
    g_free(p->procfs);
    g_free(p->log_level);
    g_free(p->host_reserve);
    g_strfreev(p->vms);
}

static int parse_options(struct program *p, int *argc, char ***argv)
{
    const GOptionEntry entries[] = {
        { "config", 0, 0, G_OPTION_ARG_FILENAME, &p->config_path, "Configuration (default " CONFIG_PATH ")",
                "FILE" },
        { "vm", 0, 0, G_OPTION_ARG_STRING_ARRAY, &p->vms,
                "A VM besides those of the configuration: NAME,channel=PATH,qmp=PATH,device=ID[+ID…]"
                "[,min=SIZE][,max=SIZE]; repeatable",
                "VM" },
        { "host-reserve", 0, 0, G_OPTION_ARG_STRING, &p->host_reserve,
                "Host memory that is never granted (instead of HostReserve=)", "SIZE" },
        { "log-level", 0, 0, G_OPTION_ARG_STRING, &p->log_level, "err, warning, notice, info or debug",
                "LEVEL" },
        { "procfs", 0, 0, G_OPTION_ARG_FILENAME, &p->procfs,
                "Where meminfo and PID/statm are read (default /proc; another one is for tests)", "DIR" },
        { "version", 0, 0, G_OPTION_ARG_NONE, &p->version, "Print the version and exit", NULL },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;

    g_option_context_set_summary(context,
            "Grants memory to virtual machines: their guests ask over a channel, "
            "QEMU is told over QMP, and the limits hold whatever a guest says.");
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

/* The default file may be missing when VMs are named on the command line. */
static const char *choose_config(const struct program *p)
{
    if (p->config_path)
        return p->config_path;
    return p->vms && access(CONFIG_PATH, F_OK) < 0 && errno == ENOENT ? NULL : CONFIG_PATH;
}

static int load_config(const struct program *p, struct host_config **ret)
{
    _cleanup_(host_config_freep) struct host_config *c = NULL;
    g_autofree char *error = NULL;
    const char *path = choose_config(p);
    int r = host_config_load(path, p->vms, &c, &error);

    if (r < 0) {
        log_error("%s", error ?: strerror(-r));
        return r;
    }
    if (p->host_reserve) {
        r = bytes_parse(p->host_reserve, &c->host_reserve);
        if (r < 0) {
            log_error("--host-reserve=%s: not a size, such as 512M or 1.5G", p->host_reserve);
            return r;
        }
    }
    *ret = TAKE_PTR(c);
    return 0;
}

static int set_log_level(const struct program *p, const struct host_config *c)
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

static void on_reload(void *userdata)
{
    _cleanup_(host_config_freep) struct host_config *c = NULL;
    struct program *p = userdata;

    if (load_config(p, &c) < 0) {
        log_error("the configuration in force stays");
        return;
    }
    (void)set_log_level(p, c);
    host_configure(p->host, c);
    log_info("configuration loaded again: %u VMs", c->vms->len);
}

static int run(struct program *p, const struct host_config *c)
{
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;
    int r = service_event_new(on_reload, p, &event);

    if (r >= 0)
        r = host_new(event, c, p->procfs ?: "/proc", &p->host);
    if (r < 0) {
        log_error("cannot start: %s", strerror(-r));
        return r;
    }
    log_info("serving %u VMs, host reserve %s", c->vms->len, FORMAT_BYTES(c->host_reserve));
    service_lock_memory();
    return service_run(event);
}

static int program_main(struct program *p, int argc, char **argv)
{
    _cleanup_(host_config_freep) struct host_config *c = NULL;

    if (parse_options(p, &argc, &argv) < 0)
        return EX_USAGE;
    if (p->version) {
        puts("vmtide-host " VMTIDE_VERSION);
        return EXIT_SUCCESS;
    }
    if (load_config(p, &c) < 0)
        return EX_CONFIG;
    if (set_log_level(p, c) < 0)
        return EX_USAGE;
    return run(p, c) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct program p = { 0 };
    int status;

    log_open("vmtide-host");
    status = program_main(&p, argc, argv);
    program_clear(&p);
    return status;
}
