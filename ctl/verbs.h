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
    const char *name;
    bool size;         /* wants a SIZE, and nothing else wants an argument */
    bool command;      /* takes -- COMMAND… */
    unsigned options;  /* of enum verb_option */
    const char *usage; /* after the name */
    const char *summary;
};

const struct verb_spec *verb_spec(enum verb v);
enum verb verb_from_string(const char *name);
