/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* What went wrong, as an exit status and as advice. As in sysexits.h where that has a word for it; the manual
 * lists them. */
enum fault_status {
    FAULT_NONE = 0,
    FAULT_REFUSED = 1,      /* a limit, the host or the size itself stands against it */
    FAULT_USAGE = 64,       /* the command line */
    FAULT_UNAVAILABLE = 69, /* no daemon, no bus, no host, no device */
    FAULT_INTERNAL = 70,    /* no memory, a reply that cannot be read */
    FAULT_TRY_AGAIN = 75,   /* busy, too fast, no answer in time */
    FAULT_NOT_ALLOWED = 77,
};

struct fault {
    enum fault_status status;
    const char *advice; /* what to do, a sentence; NULL: the error says it */
};

/* None of D-Bus: the daemon on the host is not there. */
#define ERROR_NO_HOST_DAEMON "org.vmtide.Error.NoHostDaemon"

/* Of a D-Bus error by its name. */
struct fault fault_of(const char *error_name);
/* The same of a call to a host's daemon. */
struct fault fault_of_host(const char *error_name);
