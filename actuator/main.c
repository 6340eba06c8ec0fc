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
#include "log.h"
#include "names.h"
#include "reserve.h"
#include "saved-limits.h"
#include "service.h"

#define CONFIG_PATH "/etc/vmtide/actuator.conf"
#define CGROUP "/sys/fs/cgroup"
#define GUARD_SAVED "/run/vmtide/guard"
#define LIMITS_SAVED SAVED_LIMITS_PATH
#define RESERVATIONS_SAVED RESERVE_SAVED_PATH

struct program {
    char *config_path;
    char *log_level;
    char *port;
    char *socket;
    char *bus_address;
    char *sysfs;
    char *procfs;
    char *cgroupfs;
    char *guard_saved;
    char *limits_saved;
    char *reservations_saved;
    char *monitor_user;
    gboolean disarm;
    gboolean version;

    struct actuator_config config;
    struct actuator *actuator;
    struct actuator_bus *bus;
};

static void program_clear(struct program *p)
{
    p->bus = actuator_bus_free(p->bus);
    p->actuator = actuator_free(p->actuator);
    config_clear(actuator_options, &p->config);
    g_free(p->config_path);
    g_free(p->log_level);
    g_free(p->port);
    g_free(p->socket);
    g_free(p->bus_address);
    g_free(p->sysfs);
    g_free(p->procfs);
    g_free(p->cgroupfs);
    g_free(p->guard_saved);
    g_free(p->limits_saved);
    g_free(p->reservations_saved);
    g_free(p->monitor_user);
}

static int parse_options(struct program *p, int *argc, char ***argv)
{
    const GOptionEntry entries[] = {
        { "config", 0, 0, G_OPTION_ARG_FILENAME, &p->config_path, "Configuration (default " CONFIG_PATH ")",
                "FILE" },
        { "log-level", 0, 0, G_OPTION_ARG_STRING, &p->log_level, "err, warning, notice, info or debug",
                "LEVEL" },
        { "port", 0, 0, G_OPTION_ARG_FILENAME, &p->port,
                "The channel's port, or a unix socket, over the configuration's", "PATH" },
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
        { "disarm", 0, 0, G_OPTION_ARG_NONE, &p->disarm,
                "Write back what a killed actuator's guard has replaced, and exit", NULL },
        { "version", 0, 0, G_OPTION_ARG_NONE, &p->version, "Print the version and exit", NULL },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;

    g_option_context_set_summary(context, "Plugs and unplugs the guest's memory for vmtide-monitor and for "
                                          "administrators, within its own limits and "
                                          "the host's.");
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

static int load_config(const struct program *p, struct actuator_config *ret)
{
    g_autofree char *error = NULL;
    const char *path = p->config_path ?: CONFIG_PATH;
    int r = actuator_config_load(path, !p->config_path, ret, &error);

    if (r < 0)
        log_error("%s", error ?: strerror(-r));
    return r;
}

static int set_log_level(const struct program *p, const struct actuator_config *c)
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
    struct program *p = userdata;
    struct actuator_config c;

    if (load_config(p, &c) < 0) {
        log_error("the configuration in force stays");
        return;
    }
    if (!streq(c.port, p->config.port))
        log_warning("Port=%s takes effect with the next start", c.port);
    config_clear(actuator_options, &p->config);
    p->config = c;
    (void)set_log_level(p, &c);
    actuator_configure(p->actuator, &c);
    log_info("configuration loaded again");
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

static int run(struct program *p)
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
        return r;
    }
    service_lock_memory();
    return service_run(event);
}

static int disarm(const struct program *p)
{
    const char *path = p->guard_saved ?: GUARD_SAVED;
    int r = guard_saved_restore(path, p->cgroupfs ?: CGROUP);

    if (r < 0)
        log_error("guard: memory.high cannot be written back by %s: %s", path, strerror(-r));
    else if (r > 0)
        log_info("guard: memory.high of %d slices written back", r);
    return r;
}

static int program_main(struct program *p, int argc, char **argv)
{
    if (parse_options(p, &argc, &argv) < 0)
        return EX_USAGE;
    if (p->version) {
        puts("vmtide-actuator " VMTIDE_VERSION);
        return EXIT_SUCCESS;
    }
    if (p->disarm)
        return disarm(p) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    if (load_config(p, &p->config) < 0)
        return EX_CONFIG;
    if (set_log_level(p, &p->config) < 0)
        return EX_USAGE;
    return run(p) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct program p = { 0 };
    int status;

    log_open("vmtide-actuator");
    status = program_main(&p, argc, argv);
    program_clear(&p);
    return status;
}
