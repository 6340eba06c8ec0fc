/* SPDX-License-Identifier: MIT */
#include "monitor-config.h"

#include <glib.h>

#include "bytes.h"
#include "log.h"

static const char *const mode_names[] = { "auto", "paused", "dry-run", NULL };

/* The settle time is at most an hour: more would be the same as never. 0: the profile's. */
const struct config_option monitor_options[] = {
    { "Monitor", "Mode", CONFIG_ENUM, offsetof(struct monitor_config, mode), 0, 0, mode_names },
    { "Monitor", "Profile", CONFIG_ENUM, offsetof(struct monitor_config, profile), 0, 0,
            decide_profile_names },
    { "Monitor", "Headroom", CONFIG_BYTES, offsetof(struct monitor_config, headroom), 0, GIB(1024), NULL },
    { "Monitor", "MinSize", CONFIG_BYTES, offsetof(struct monitor_config, min_size), 0, INT64_MAX, NULL },
    { "Monitor", "MaxSize", CONFIG_BYTES, offsetof(struct monitor_config, max_size), 0, INT64_MAX, NULL },
    { "Monitor", "SettleTime", CONFIG_USEC, offsetof(struct monitor_config, settle_usec), 0,
            3600 * USEC_PER_SEC, NULL },
    { "Monitor", "LowMemoryWarnings", CONFIG_BOOL, offsetof(struct monitor_config, low_memory_warnings), 0, 0,
            NULL },
    { "Monitor", "LogLevel", CONFIG_ENUM, offsetof(struct monitor_config, log_level), 0, 0,
            &log_level_names[LOG_ERR] },
    { NULL, NULL, _CONFIG_TYPE_INVALID, 0, 0, 0, NULL },
};

int monitor_config_load(const char *path, bool optional, struct monitor_config *ret, char **ret_error)
{
    struct monitor_config c = {
        .mode = MONITOR_AUTO,
        .profile = DECIDE_BALANCED,
        .log_level = LOG_INFO - LOG_ERR,
    };
    int r = config_load(path, monitor_options, &c, NULL, NULL, ret_error);

    if (r == -ENOENT && optional) {
        g_clear_pointer(ret_error, g_free);
        r = 0;
    }
    if (r >= 0 && c.max_size > 0 && c.min_size > c.max_size) {
        *ret_error = g_strdup_printf("%s: [Monitor] MinSize=%s: above MaxSize=%s", path,
                FORMAT_BYTES(c.min_size), FORMAT_BYTES(c.max_size));
        r = -ERANGE;
    }
    if (r < 0)
        return r;
    *ret = c;
    return 0;
}

struct decide_config monitor_config_decide(const struct monitor_config *c)
{
    return (struct decide_config){
        .profile = c->profile,
        .headroom = c->headroom,
        .min_size = c->min_size,
        .max_size = c->max_size > 0 ? c->max_size : UINT64_MAX,
        .settle_usec = c->settle_usec > 0 ? c->settle_usec : decide_profile_settle(c->profile),
    };
}

const char *monitor_mode_to_string(enum monitor_mode m)
{
    return m >= 0 && m < _MONITOR_MODE_MAX ? mode_names[m] : NULL;
}
