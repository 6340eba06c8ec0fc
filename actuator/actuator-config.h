/* SPDX-License-Identifier: MIT */
#pragma once

#include "config.h"
#include "hotplug.h"

/* What to do with vm.overcommit_memory. */
enum actuator_overcommit {
    OVERCOMMIT_FOLLOW, /* 1 while the VM may grow, where the administrator has 0 */
    OVERCOMMIT_KEEP,
    _OVERCOMMIT_MAX,
    _OVERCOMMIT_INVALID = -EINVAL,
};

/* actuator.conf */
struct actuator_config {
    uint64_t min_size;
    uint64_t max_size; /* UINT64_MAX (in the file: 0): the host's alone */
    uint32_t request_rate;
    uint32_t request_burst;
    uint64_t request_timeout_usec;
    int onlining; /* enum hotplug_onlining */
    bool guard;
    char *guard_exclude; /* cgroups without a line: valid names, spaces between them */
    char *guard_slices;  /* the key of before 0.2, which is ignored; NULL: it is not there */
    bool kernel_reserve;
    int overcommit; /* enum actuator_overcommit */
    char *port;
    int log_level; /* index: err warning notice info debug */
};

/* The port when there is one, else vsock. */
#define PORT_AUTO "auto"

extern const struct config_option actuator_options[];

/* -EINVAL with *ret_error (g_free): nothing that the host could be at. */
int actuator_config_check_port(const char *port, char **ret_error);

/* Defaults, then the file over them; a missing file is fine when optional. Clear with config_clear(). */
int actuator_config_load(const char *path, bool optional, struct actuator_config *ret, char **ret_error);
