/* SPDX-License-Identifier: MIT */
#include "actuator-config.h"

#include <glib.h>
#include <syslog.h>

#include "channel.h"

static const char *const level_names[] = { "err", "warning", "notice", "info", "debug", NULL };

#define FIELD(name) offsetof(struct actuator_config, name)

/* Rate: one request a second is slower than the monitor's steps, a thousand is no limit. */
const struct config_option actuator_options[] = {
    { "Actuator", "MinSize", CONFIG_BYTES, FIELD(min_size), 0, INT64_MAX, NULL },
    { "Actuator", "MaxSize", CONFIG_BYTES, FIELD(max_size), 0, INT64_MAX, NULL },
    { "Actuator", "RequestRate", CONFIG_UINT, FIELD(request_rate), 1, 1000, NULL },
    { "Actuator", "RequestBurst", CONFIG_UINT, FIELD(request_burst), 1, 1000, NULL },
    { "Actuator", "RequestTimeout", CONFIG_USEC, FIELD(request_timeout_usec), 100 * USEC_PER_MSEC,
            60 * USEC_PER_SEC, NULL },
    { "Actuator", "Onlining", CONFIG_ENUM, FIELD(onlining), 0, 0, hotplug_onlining_names },
    { "Actuator", "Port", CONFIG_STRING, FIELD(port), 0, 0, NULL },
    { "Actuator", "LogLevel", CONFIG_ENUM, FIELD(log_level), 0, 0, level_names },
    { NULL, NULL, _CONFIG_TYPE_INVALID, 0, 0, 0, NULL },
};

int actuator_config_load(const char *path, bool optional, struct actuator_config *ret, char **ret_error)
{
    struct actuator_config c = {
        .request_rate = 10,
        .request_burst = 20,
        .request_timeout_usec = 5 * USEC_PER_SEC,
        .onlining = HOTPLUG_AUTO,
        .port = g_strdup("/dev/virtio-ports/" CHANNEL_PORT_NAME),
        .log_level = LOG_INFO - LOG_ERR,
    };
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
    if (r < 0) {
        config_clear(actuator_options, &c);
        return r;
    }
    *ret = c;
    return 0;
}
