/* SPDX-License-Identifier: MIT */
#pragma once

#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "macro.h"

/* Who may do what. One table from method to action; what is not in it is nobody's. */
struct authorize;

#define AUTHORIZE_PENDING_MAX 16u

/* uid may call member? */
bool authorize_allows(const char *member, uid_t uid, uid_t monitor_uid);

int authorize_new(uid_t monitor_uid, struct authorize **ret);
struct authorize *authorize_free(struct authorize *a);

/* The bus has gone: whoever waits for an answer over it gets none. */
void authorize_cancel(struct authorize *a);

/* Calls apply(m, …) when the caller may, at once when known_uid is one (a private connection), else when the
 * bus has told who it is: without waiting. Answers the message itself when not. */
int authorize(struct authorize *a, sd_bus_message *m, const uid_t *known_uid, sd_bus_message_handler_t apply,
        void *userdata);
