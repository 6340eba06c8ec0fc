/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>

/* A listening socket on "127.0.0.1:9811", ours alone: -EADDRINUSE when any other listens there, one of our
 * own user too. *ret_local: nobody but this machine reaches it. */
int metrics_listen_on(const char *address, bool *ret_local);
/* Whether two addresses that were read before have one port. */
bool metrics_same_port(const char *a, const char *b);
