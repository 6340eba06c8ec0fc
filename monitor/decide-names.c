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
    [DECIDE_ENOUGH] = { "enough", "available memory covers the headroom and there is nothing to give back" },
    [DECIDE_UNKNOWN_INPUT] = { "unknown-input",
            "memory statistics could not be read, or the clock went back" },
    [DECIDE_NO_HOST] = { "no-host", "no actuator, no device or no host to ask" },
    [DECIDE_IN_FLIGHT] = { "in-flight", "the last request has no answer yet" },
    [DECIDE_PROJECTED_SHORT] = { "projected-short",
            "at the rate it is falling, available memory is under the headroom before more could be here" },
    [DECIDE_SHORT] = { "short", "available memory is under the headroom" },
    [DECIDE_PRESSURE] = { "pressure", "tasks wait for memory and little is available" },
    [DECIDE_REFAULTS] = { "refaults", "tasks wait for pages that were evicted a moment ago" },
    [DECIDE_KERNEL_FLOOR] = { "kernel-floor",
            "the kernel zones are getting low; user memory is to come from plugged memory instead" },
    [DECIDE_KERNEL_LOW] = { "kernel-low",
            "the kernel has used most of its reserve in the kernel zones; a block is to be added to them" },
    [DECIDE_HELD] = { "held", "tasks wait at a memory.high line of the guard" },
    [DECIDE_STANDING] = { "standing", "the kernel keeps no reserve in its zones while nothing is plugged" },
    [DECIDE_PLUGGING] = { "plugging", "memory that was granted is still being plugged" },
    [DECIDE_AT_MAX] = { "at-max", "short of memory, but the size is at its maximum" },
    [DECIDE_KERNEL_ZONES] = { "kernel-zones",
            "short of memory, and the kernel zones can hardly pay for the page structs of another block" },
    [DECIDE_REFUSED] = { "refused", "short of memory, refused a moment ago, asking again soon" },
    [DECIDE_SPARE] = { "spare", "quiet for long enough with memory to spare" },
    [DECIDE_OVER_MAX] = { "over-max", "the size is over a maximum that was set since" },
    [DECIDE_HOST_ASKED] = { "host-asked", "the host asked for memory back" },
    [DECIDE_SQUEEZING] = { "squeezing", "memory to spare, dropping cold page cache before giving it back" },
    [DECIDE_SETTLING] = { "settling", "memory to spare, waiting whether it stays quiet" },
    [DECIDE_UNDER_PRESSURE] = { "under-pressure", "memory to spare, but tasks wait for memory or refault" },
    [DECIDE_UNPLUGGING] = { "unplugging", "memory is being unplugged" },
    [DECIDE_BACK_OFF] = { "back-off", "memory to spare, but the last shrink got stuck or was refused" },
};

const char *decide_why_to_string(enum decide_why w)
{
    return w >= 0 && w < _DECIDE_WHY_MAX ? whys[w].name : NULL;
}

const char *decide_why_text(enum decide_why w)
{
    return w >= 0 && w < _DECIDE_WHY_MAX ? whys[w].text : NULL;
}
