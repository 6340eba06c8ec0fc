/* SPDX-License-Identifier: MIT */
#include <glib.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sysexits.h>

#include "actuator-bus.h"
#include "actuator-config.h"
#include "actuator.h"
#include "guard-saved.h"
#include "kernel-setting.h"
#include "log.h"
#include "names.h"
#include "program.h"
#include "reserve.h"
#include "saved-limits.h"
#include "service.h"

#define DEFAULT_CONFIG "/etc/vmtide/actuator.conf"
#define CGROUP "/sys/fs/cgroup"
#define GUARD_SAVED "/run/vmtide/guard"
#define KERNEL_SAVED "/run/vmtide/kernel"
#define LIMITS_SAVED SAVED_LIMITS_PATH
#define RESERVATIONS_SAVED RESERVE_SAVED_PATH

static const struct program_spec spec = {
    .name = "vmtide-actuator",
    .summary = "Plugs and unplugs the guest's memory for vmtide-monitor and for administrators, within its "
               "own limits "
               "and the host's.",
    .config_path = DEFAULT_CONFIG,
    .config_help = "Configuration (default " DEFAULT_CONFIG ")",
};

struct actuator_program {
    struct program common;
    char *port;
    char *socket;
    char *bus_address;
    char *sysfs;
    char *procfs;
    char *cgroupfs;
    char *guard_saved;
    char *kernel_saved;
    char *limits_saved;
    char *reservations_saved;
    char *monitor_user;
    gboolean disarm;

    struct actuator_config config;
    struct actuator *actuator;
    struct actuator_bus *bus;
};

static void actuator_program_clear(struct actuator_program *p)
{
    p->bus = actuator_bus_free(p->bus);
    p->actuator = actuator_free(p->actuator);
    config_clear(actuator_options, &p->config);
    program_clear(&p->common);
    g_free(p->port);
    g_free(p->socket);
    g_free(p->bus_address);
    g_free(p->sysfs);
    g_free(p->procfs);
    g_free(p->cgroupfs);
    g_free(p->guard_saved);
    g_free(p->kernel_saved);
    g_free(p->limits_saved);
    g_free(p->reservations_saved);
    g_free(p->monitor_user);
}

static int parse_options(struct actuator_program *p, int argc, char **argv)
{
    const GOptionEntry entries[] = {
        { "port", 0, 0, G_OPTION_ARG_FILENAME, &p->port,
                "The channel's port over the configuration's: a path, auto, or vsock[:[CID:]PORT]", "PORT" },
        { "socket", 0, 0, G_OPTION_ARG_FILENAME, &p->socket,
                "The monitor's socket (default " ACTUATOR_SOCKET ")", "PATH" },
        { "bus", 0, 0, G_OPTION_ARG_STRING, &p->bus_address, "D-Bus address (default: the system bus)",
                "ADDRESS" },
        { "monitor-user", 0, 0, G_OPTION_ARG_STRING, &p->monitor_user,
                "Who the monitor runs as (default " MONITOR_USER ")", "NAME" },
        { "sysfs", 0, 0, G_OPTION_ARG_FILENAME, &p->sysfs, "Where the kernel's devices are (default /sys)",
                "DIR" },
        { "cgroupfs", 0, 0, G_OPTION_ARG_FILENAME, &p->cgroupfs,
                "Where the cgroup v2 hierarchy is (default " CGROUP ")", "DIR" },
        { "procfs", 0, 0, G_OPTION_ARG_FILENAME, &p->procfs, "Where memory statistics are (default /proc)",
                "DIR" },
        { "limits-state", 0, 0, G_OPTION_ARG_FILENAME, &p->limits_saved,
                "Where limits that were set to stay are kept (default " LIMITS_SAVED ")", "FILE" },
        { "reservations-state", 0, 0, G_OPTION_ARG_FILENAME, &p->reservations_saved,
                "Where reservations are kept over a restart (default " RESERVATIONS_SAVED ")", "FILE" },
        { "guard-state", 0, 0, G_OPTION_ARG_FILENAME, &p->guard_saved,
                "Where memory.high is kept that the guard replaces (default " GUARD_SAVED ")", "PATH" },
        { "kernel-state", 0, 0, G_OPTION_ARG_FILENAME, &p->kernel_saved,
                "Where the administrator's kernel settings are kept (default " KERNEL_SAVED ")", "FILE" },
        { "disarm", 0, 0, G_OPTION_ARG_NONE, &p->disarm,
                "Restore what a killed actuator has changed (memory.high, kernel settings), and exit", NULL },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };

    return program_parse(&p->common, &spec, entries, argc, argv);
}

/* EXIT_SUCCESS, or the status that a wrong configuration ends with. */
static int load_config(const struct actuator_program *p, struct actuator_config *ret, char **ret_error)
{
    const char *path = p->common.config_path;

    if (p->port && actuator_config_check_port(p->port, ret_error) < 0)
        return EX_USAGE;
    return actuator_config_load(path ?: spec.config_path, !path, ret, ret_error) < 0 ? EX_CONFIG
                                                                                     : EXIT_SUCCESS;
}

static int on_reload(void *userdata, char **ret_error)
{
    struct actuator_program *p = userdata;
    struct actuator_config c;
    int status = load_config(p, &c, ret_error);

    if (status != EXIT_SUCCESS)
        return status;
    if (!streq(c.port, p->config.port))
        log_warning("Port=%s takes effect with the next start", c.port);
    config_clear(actuator_options, &p->config);
    p->config = c;
    program_set_log_level(&p->common, c.log_level);
    actuator_configure(p->actuator, &c);
    return EXIT_SUCCESS;
}

static int find_monitor_user(const char *name, uid_t *ret_uid, gid_t *ret_gid)
{
    const struct passwd *pw;

    errno = 0;
    pw = getpwnam(name);
    if (!pw) {
        log_error("there is no user %s; systemd-sysusers makes it", name);
        return errno > 0 ? -errno : -ENOENT;
    }
    *ret_uid = pw->pw_uid;
    *ret_gid = pw->pw_gid;
    return 0;
}

/* A second one would take the lines and the socket of the first away. The lock ends with the process. */
static int lock_alone(const char *socket)
{
    g_autofree char *path = g_strconcat(socket, ".lock", NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return log_error("%s: %s; it is to be run as root", path, strerror(errno)), -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        log_error("another vmtide-actuator is running, it holds %s", path);
        close(fd);
        return -EBUSY;
    }
    return 0;
}

/* The exit status. */
static int run(struct actuator_program *p)
{
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;
    struct actuator_bus_options bus_options = {
        .address = p->bus_address,
        .socket = p->socket ?: ACTUATOR_SOCKET,
        .procfs = p->procfs ?: "/proc",
        .cgroupfs = p->cgroupfs ?: "/sys/fs/cgroup",
        .reservations_saved = p->reservations_saved ?: RESERVATIONS_SAVED,
    };
    struct actuator_options options = {
        .config = &p->config,
        .port = p->port,
        .sysfs = p->sysfs ?: "/sys",
        .procfs = p->procfs ?: "/proc",
        .cgroup = p->cgroupfs ?: CGROUP,
        .guard_saved = p->guard_saved ?: GUARD_SAVED,
        .kernel_saved = p->kernel_saved ?: KERNEL_SAVED,
        .limits_saved = p->limits_saved ?: LIMITS_SAVED,
    };
    int r = find_monitor_user(
            p->monitor_user ?: MONITOR_USER, &bus_options.monitor_uid, &bus_options.monitor_gid);

    if (r >= 0)
        r = lock_alone(bus_options.socket);

    if (r >= 0)
        r = service_event_new(on_reload, p, &event);
    if (r >= 0)
        r = actuator_new(event, &options, &p->actuator);
    if (r >= 0)
        r = actuator_bus_new(event, p->actuator, &bus_options, &p->bus);
    if (r < 0) {
        log_error("cannot start: %s", strerror(-r));
        /* Another one is running: to be started again at once would not help. */
        return r == -EBUSY ? EX_TEMPFAIL : EXIT_FAILURE;
    }
    service_lock_memory();
    return service_run(event);
}

static int restore_kernel(const struct actuator_program *p)
{
    const char *path = p->kernel_saved ?: KERNEL_SAVED;
    int r = kernel_state_restore(path, p->procfs ?: "/proc");

    if (r < 0)
        log_error("the kernel settings in %s cannot be restored: %s", path, strerror(-r));
    return r;
}

static int restore_lines(const struct actuator_program *p)
{
    const char *path = p->guard_saved ?: GUARD_SAVED;
    int r = guard_saved_restore(path, p->cgroupfs ?: CGROUP);

    if (r < 0)
        log_error("guard: memory.high cannot be written back by %s: %s", path, strerror(-r));
    else if (r > 0)
        log_info("guard: memory.high of %d cgroups written back", r);
    return r;
}

/* One failure does not prevent the other. */
static int disarm(const struct actuator_program *p)
{
    int lines = restore_lines(p), kernel = restore_kernel(p);

    return MIN_OF(lines, kernel);
}

static int program_main(struct actuator_program *p, int argc, char **argv)
{
    char *error = NULL;
    int status = parse_options(p, argc, argv);

    if (status == PROGRAM_GOES_ON && p->disarm)
        return disarm(p) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    if (status == PROGRAM_GOES_ON) {
        status = load_config(p, &p->config, &error);
        status = program_take_config(&p->common, status, error);
    }
    if (status != PROGRAM_GOES_ON)
        return status;
    program_set_log_level(&p->common, p->config.log_level);
    return run(p);
}

int main(int argc, char **argv)
{
    struct actuator_program p = { 0 };
    int status = program_main(&p, argc, argv);

    actuator_program_clear(&p);
    return status;
}
