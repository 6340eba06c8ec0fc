/* SPDX-License-Identifier: MIT */
#include "decide.h"

const char *decide_action_to_string(enum decide_action a)
{
    static const char *const names[_DECIDE_ACTION_MAX] = {
        [DECIDE_HOLD] = "hold",
        [DECIDE_GROW] = "grow",
        [DECIDE_SHRINK] = "shrink",
    };

    return a >= 0 && a < _DECIDE_ACTION_MAX ? names[a] : NULL;
}

const char *const decide_profile_names[] = { "conservative", "balanced", "eager", NULL };

static const struct {
    const char *name;
    const char *text;
} whys[_DECIDE_WHY_MAX] = {
    [DECIDE_ENOUGH] = { "enough", "available memory covers the headroom and none is spare" },
    [DECIDE_UNKNOWN_INPUT] = { "unknown-input", "memory statistics are unreadable, or the clock went back" },
    [DECIDE_NO_HOST] = { "no-host", "no actuator, no device or no host" },
    [DECIDE_IN_FLIGHT] = { "in-flight", "the last request has no reply yet" },
    [DECIDE_PROJECTED_SHORT] = { "projected-short",
            "at its current rate, available memory falls below the headroom before a plug can be done" },
    [DECIDE_SHORT] = { "short", "available memory is below the headroom" },
    [DECIDE_PRESSURE] = { "pressure", "tasks wait for memory and little is available" },
    [DECIDE_REFAULTS] = { "refaults", "tasks wait for pages that were recently evicted" },
    [DECIDE_KERNEL_FLOOR] = { "kernel-floor",
            "the kernel zones are running low; plugged memory will hold user memory instead" },
    [DECIDE_KERNEL_LOW] = { "kernel-low",
            "the kernel has used most of its reserve in the kernel zones; they need another block" },
    [DECIDE_HELD] = { "held", "tasks wait at a memory.high line of the guard" },
    [DECIDE_STANDING] = { "standing",
            "the kernel keeps a reserve in its zones only while memory is plugged" },
    [DECIDE_PLUGGING] = { "plugging", "the granted memory is not yet plugged" },
    [DECIDE_AT_MAX] = { "at-max", "short of memory, but the size is at its maximum" },
    [DECIDE_KERNEL_ZONES] = { "kernel-zones",
            "short of memory, and the kernel zones can hardly hold the page structs of another block" },
    [DECIDE_REFUSED] = { "refused", "short of memory, recently refused, asking again soon" },
    [DECIDE_SPARE] = { "spare", "memory has been spare for long enough" },
    [DECIDE_OVER_MAX] = { "over-max", "the size is above the max size" },
    [DECIDE_HOST_ASKED] = { "host-asked", "the host asked for memory" },
    [DECIDE_SQUEEZING] = { "squeezing", "memory is spare, reclaiming cold page cache before giving it back" },
    [DECIDE_SETTLING] = { "settling", "memory is spare, but not for long enough yet" },
    [DECIDE_UNDER_PRESSURE] = { "under-pressure", "memory is spare, but tasks wait for memory or refault" },
    [DECIDE_UNPLUGGING] = { "unplugging", "unplugging memory" },
    [DECIDE_BACK_OFF] = { "back-off", "memory is spare, but the last shrink got stuck or was refused" },
};

const char *decide_why_to_string(enum decide_why w)
{
    return w >= 0 && w < _DECIDE_WHY_MAX ? whys[w].name : NULL;
}

const char *decide_why_text(enum decide_why w)
{
    return w >= 0 && w < _DECIDE_WHY_MAX ? whys[w].text : NULL;
}
