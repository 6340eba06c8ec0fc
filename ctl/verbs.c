/* SPDX-License-Identifier: MIT */
#include "verbs.h"

static const struct verb_spec specs[_VERB_MAX] = {
    [VERB_STATUS] = { "status", .options = VERB_OPTION_JSON, .usage = "",
            .summary = "Show size, pressure, guard and the last decision" },
    [VERB_WATCH] = { "watch", .options = VERB_OPTION_JSON | VERB_OPTION_COUNT, .usage = "",
            .summary = "The same, live, with the last minute" },
    [VERB_PLUG] = { "plug", .size = true, .options = VERB_OPTION_JSON | VERB_OPTION_WHY, .usage = "SIZE",
            .summary = "Ask the host for so much more memory" },
    [VERB_UNPLUG] = { "unplug", .size = true, .options = VERB_OPTION_JSON | VERB_OPTION_WHY, .usage = "SIZE",
            .summary = "Give so much memory back to the host" },
    [VERB_SET_LIMITS] = { "set-limits",
            .options = VERB_OPTION_MIN | VERB_OPTION_MAX | VERB_OPTION_PERSIST | VERB_OPTION_RESET,
            .usage = "[--min SIZE] [--max SIZE]",
            .summary = "Bound what is plugged; what is not named stays" },
    [VERB_RESERVE] = { "reserve", .size = true, .command = true, .options = VERB_OPTION_WHY,
            .usage = "SIZE [-- COMMAND…]", .summary = "Keep so much memory ready while COMMAND runs" },
    [VERB_RESERVATIONS] = { "reservations", .options = VERB_OPTION_JSON, .usage = "",
            .summary = "List who keeps memory ready" },
    [VERB_PAUSE] = { "pause", .options = VERB_OPTION_WHY | VERB_OPTION_FOR, .usage = "",
            .summary = "Stop growing and shrinking by itself" },
    [VERB_RESUME] = { "resume", .usage = "", .summary = "End a pause" },
    [VERB_EXPLAIN] = { "explain", .options = VERB_OPTION_JSON | VERB_OPTION_COUNT, .usage = "",
            .summary = "The last decisions, with numbers and reasons" },
    [VERB_MONITOR] = { "monitor", .options = VERB_OPTION_JSON | VERB_OPTION_COUNT, .usage = "",
            .summary = "Print the daemons' signals as they come" },
    [VERB_DOCTOR] = { "doctor", .options = VERB_OPTION_JSON | VERB_OPTION_ROOT, .usage = "",
            .summary = "Check this machine and say how to mend it" },
    [VERB_HOST_LIST] = { "host list", .options = VERB_OPTION_JSON, .usage = "",
            .summary = "On a host: list its VMs" },
    [VERB_HOST_SHOW] = { "host show", .vm = true, .options = VERB_OPTION_JSON, .usage = "VM",
            .summary = "Show all of a VM" },
    [VERB_HOST_WATCH] = { "host watch", .options = VERB_OPTION_JSON | VERB_OPTION_COUNT, .usage = "",
            .summary = "The list, live" },
    [VERB_HOST_SET_LIMITS] = { "host set-limits", .vm = true,
            .options = VERB_OPTION_MIN | VERB_OPTION_MAX | VERB_OPTION_PERSIST | VERB_OPTION_RESET,
            .usage = "VM [--min SIZE] [--max SIZE]", .summary = "Bound what a VM is granted" },
    [VERB_HOST_SET_WEIGHT] = { "host set-weight", .vm = true, .weight = true, .options = VERB_OPTION_PERSIST,
            .usage = "VM WEIGHT", .summary = "What a VM gets beside others; 0: as configured" },
    [VERB_HOST_SHRINK] = { "host shrink", .vm = true, .size = true, .options = VERB_OPTION_WHY,
            .usage = "VM SIZE", .summary = "Ask a VM's guest to give back down to SIZE" },
    [VERB_HOST_PAUSE] = { "host pause", .vm = true, .options = VERB_OPTION_WHY | VERB_OPTION_FOR,
            .usage = "VM", .summary = "Plug and unplug nothing in a VM" },
    [VERB_HOST_RESUME] = { "host resume", .vm = true, .usage = "VM", .summary = "End that" },
    [VERB_HOST_DOCTOR] = { "host doctor", .options = VERB_OPTION_JSON | VERB_OPTION_ROOT, .usage = "",
            .summary = "Check this host, and whether its VMs are bounded" },
};

const struct verb_spec *verb_spec(enum verb v)
{
    return v >= 0 && v < _VERB_MAX ? &specs[v] : NULL;
}

enum verb verb_from_string(const char *name)
{
    for (enum verb v = 0; v < _VERB_MAX; v++)
        if (streq(name, specs[v].name))
            return v;
    return _VERB_INVALID;
}
