/* SPDX-License-Identifier: MIT */
#include "actuator-config.h"

#include <glib.h>

#include "channel.h"
#include "guard.h"
#include "log.h"
#include "vsock.h"

/* As a socket's address takes it. */
#define PORT_MAX 107u

#define FIELD(name) offsetof(struct actuator_config, name)

static const char *const overcommit_names[] = { "follow", "keep", NULL };

/* Rate: one request a second is slower than the monitor's steps, a thousand is no limit. */
const struct config_option actuator_options[] = {
    { "Actuator", "MinSize", CONFIG_BYTES, FIELD(min_size), 0, INT64_MAX, NULL },
    { "Actuator", "MaxSize", CONFIG_BYTES, FIELD(max_size), 0, INT64_MAX, NULL },
    { "Actuator", "RequestRate", CONFIG_UINT, FIELD(request_rate), 1, 1000, NULL },
    { "Actuator", "RequestBurst", CONFIG_UINT, FIELD(request_burst), 1, 1000, NULL },
    { "Actuator", "RequestTimeout", CONFIG_USEC, FIELD(request_timeout_usec), 100 * USEC_PER_MSEC,
            60 * USEC_PER_SEC, NULL },
    { "Actuator", "Onlining", CONFIG_ENUM, FIELD(onlining), 0, 0, hotplug_onlining_names },
    { "Actuator", "Guard", CONFIG_BOOL, FIELD(guard), 0, 0, NULL },
    { "Actuator", "GuardExclude", CONFIG_STRING, FIELD(guard_exclude), 0, 0, NULL },
    { "Actuator", "GuardSlices", CONFIG_STRING, FIELD(guard_slices), 0, 0, NULL },
    { "Actuator", "Overcommit", CONFIG_ENUM, FIELD(overcommit), 0, 0, overcommit_names },
    { "Actuator", "KernelReserve", CONFIG_BOOL, FIELD(kernel_reserve), 0, 0, NULL },
    { "Actuator", "Port", CONFIG_STRING, FIELD(port), 0, 0, NULL },
    { "Actuator", "LogLevel", CONFIG_ENUM, FIELD(log_level), 0, 0, &log_level_names[LOG_ERR] },
    { NULL, NULL, _CONFIG_TYPE_INVALID, 0, 0, 0, NULL },
};

static int check_excluded(const char *path, const char *excluded, char **ret_error)
{
    g_auto(GStrv) names = g_strsplit(excluded, " ", -1);
    unsigned n = 0;

    for (size_t i = 0; names[i]; i++) {
        if (*names[i] == '\0')
            continue;
        if (!guard_cgroup_name_is_valid(names[i])) {
            *ret_error =
                    g_strdup_printf("%s: [Actuator] GuardExclude=%s: '%s' is not the name of a top-level "
                                    "cgroup, such as machine.slice or docker",
                            path, excluded, names[i]);
            return -EINVAL;
        }
        n++;
    }
    if (n > GUARD_CGROUPS_MAX) {
        *ret_error =
                g_strdup_printf("%s: [Actuator] GuardExclude=: %u cgroups, at most %u are allowed (Guard=no "
                                "turns the guard off)",
                        path, n, GUARD_CGROUPS_MAX);
        return -ERANGE;
    }
    return 0;
}

int actuator_config_check_port(const char *port, char **ret_error)
{
    struct vsock_address address;

    if (streq(port, PORT_AUTO) || vsock_parse(port, &address) >= 0 ||
            (port[0] == '/' && strlen(port) <= PORT_MAX))
        return 0;
    *ret_error = g_strdup_printf(
            "Port=%s: auto, an absolute path of at most %u bytes, vsock, vsock:PORT or vsock:CID:PORT", port,
            PORT_MAX);
    return -EINVAL;
}

int actuator_config_load(const char *path, bool optional, struct actuator_config *ret, char **ret_error)
{
    struct actuator_config c = {
        .request_rate = 10,
        .request_burst = 20,
        .request_timeout_usec = 5 * USEC_PER_SEC,
        .onlining = HOTPLUG_AUTO,
        .guard = true,
        .guard_exclude = g_strdup("init.scope vmtide.slice"),
        .overcommit = OVERCOMMIT_FOLLOW,
        .kernel_reserve = true,
        .port = g_strdup(PORT_AUTO),
        .log_level = LOG_INFO - LOG_ERR,
    };
    g_autofree char *error = NULL;
    int r = config_load(path, actuator_options, &c, NULL, NULL, ret_error);

    if (r == -ENOENT && optional) {
        g_clear_pointer(ret_error, g_free);
        r = 0;
    }
    if (c.max_size == 0)
        c.max_size = UINT64_MAX;
    if (r >= 0 && c.min_size > c.max_size) {
        *ret_error = g_strdup_printf("%s: [Actuator] MinSize=%s: above MaxSize=%s", path,
                FORMAT_BYTES(c.min_size), FORMAT_BYTES(c.max_size));
        r = -ERANGE;
    }
    if (r >= 0)
        r = check_excluded(path, c.guard_exclude, ret_error);
    if (r >= 0 && actuator_config_check_port(c.port, &error) < 0) {
        *ret_error = g_strdup_printf("%s: [Actuator] %s", path, error);
        r = -EINVAL;
    }
    if (r < 0) {
        config_clear(actuator_options, &c);
        return r;
    }
    *ret = c;
    return 0;
}
