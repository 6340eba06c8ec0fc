/* SPDX-License-Identifier: MIT */
#pragma once

#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "fuzz.h"

/* D-Bus calls made from bytes, at a daemon's own vtables: over a socket on which we are the bus daemon and
 * polkit as well, so that the input chooses who calls and what polkit says, and over the daemon's private
 * socket if it has one. All in one process and one event loop. */

/* Who may. A caller of whom that does not hold must be answered with an error. */
enum fuzz_guard {
    FUZZ_ANYBODY,
    FUZZ_MONITOR, /* root, the monitor's user, whom polkit allows it */
    FUZZ_ADMIN,   /* root, whom polkit allows it */
    FUZZ_ROOT,
    _FUZZ_GUARD_MAX,
    _FUZZ_GUARD_INVALID = -EINVAL,
};

struct fuzz_method {
    const char *interface, *member;
    const char *types; /* of t b u v s */
    enum fuzz_guard guard;
};

/* Arrays end with NULLs. */
struct fuzz_target {
    const struct fuzz_method *methods;
    const char *const *paths;
    const char *const *words; /* strings that mean something there */
    const char *socket;       /* private, NULL: none */
    uid_t monitor_uid;        /* on the bus */
};

/* Listens in the folder; the address for the daemon. Lives as long as the process. */
const char *fuzz_bus_listen(sd_event *event);
/* The daemon is there: waits until it has its name. */
void fuzz_bus_meet(const struct fuzz_target *t);
/* The calls of one input, until each has its answer. */
void fuzz_bus_run(const uint8_t *data, size_t size);

#define FUZZ_PROPERTIES(guard)                                                                               \
    { "org.freedesktop.DBus.Properties", "Get", "ss", FUZZ_ANYBODY },                                        \
            { "org.freedesktop.DBus.Properties", "GetAll", "s", FUZZ_ANYBODY },                              \
    {                                                                                                        \
        "org.freedesktop.DBus.Properties", "Set", "ssv", guard                                               \
    }
#define FUZZ_LOG_PATH "/org/freedesktop/LogControl1"
#define FUZZ_LOG_WORDS "org.freedesktop.LogControl1", "LogLevel", "LogTarget", "SyslogIdentifier"
