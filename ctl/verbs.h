/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* What vmtidectl can do: names, arguments and options of each verb. */
enum verb {
    VERB_STATUS,
    VERB_WATCH,
    VERB_PLUG,
    VERB_UNPLUG,
    VERB_SET_LIMITS,
    VERB_RESERVE,
    VERB_RESERVATIONS,
    VERB_PAUSE,
    VERB_RESUME,
    VERB_EXPLAIN,
    VERB_MONITOR,
    VERB_DOCTOR,
    VERB_HOST_LIST,
    VERB_HOST_SHOW,
    VERB_HOST_WATCH,
    VERB_HOST_SET_LIMITS,
    VERB_HOST_SET_WEIGHT,
    VERB_HOST_SHRINK,
    VERB_HOST_PAUSE,
    VERB_HOST_RESUME,
    VERB_HOST_DOCTOR,
    _VERB_MAX,
    _VERB_INVALID = -EINVAL,
};

/* Options that not every verb takes. */
enum verb_option {
    VERB_OPTION_JSON = 1 << 0,
    VERB_OPTION_MIN = 1 << 1,
    VERB_OPTION_MAX = 1 << 2,
    VERB_OPTION_PERSIST = 1 << 3,
    VERB_OPTION_WHY = 1 << 4,
    VERB_OPTION_COUNT = 1 << 5,
    VERB_OPTION_FOR = 1 << 6,
    VERB_OPTION_ROOT = 1 << 7,
    VERB_OPTION_RESET = 1 << 8,
};

struct verb_spec {
    const char *name;  /* those of the host are two words, "host list" */
    bool vm;           /* wants a VM's name, before anything else */
    bool size;         /* wants a SIZE */
    bool weight;       /* wants a number */
    bool command;      /* takes -- COMMAND… */
    unsigned options;  /* of enum verb_option */
    const char *usage; /* after the name */
    const char *summary;
};

const struct verb_spec *verb_spec(enum verb v);
enum verb verb_from_string(const char *name);
