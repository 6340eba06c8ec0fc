/* SPDX-License-Identifier: MIT */
#pragma once

#include "config.h"
#include "decide.h"

enum monitor_mode {
    MONITOR_AUTO,
    MONITOR_PAUSED,
    MONITOR_DRY_RUN,
    _MONITOR_MODE_MAX,
    _MONITOR_MODE_INVALID = -EINVAL,
};

/* monitor.conf */
struct monitor_config {
    int mode;    /* enum monitor_mode */
    int profile; /* enum decide_profile */
    uint64_t headroom;
    uint64_t min_size;
    uint64_t max_size;
    uint64_t settle_usec; /* 0: the profile's */
    bool low_memory_warnings;
    int log_level; /* index: err warning notice info debug */
};

extern const struct config_option monitor_options[];

/* Loads the file over the defaults; a missing file is no error when optional. On failure *ret_error has the
 * reason. */
int monitor_config_load(const char *path, bool optional, struct monitor_config *ret, char **ret_error);

/* The decision's part of the configuration; the caller sets fastest_rate and page_size. */
struct decide_config monitor_config_decide(const struct monitor_config *c);

const char *monitor_mode_to_string(enum monitor_mode m);
