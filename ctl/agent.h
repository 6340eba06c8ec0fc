/* SPDX-License-Identifier: MIT */
#pragma once

#include <sys/types.h>

/* polkit's agent for terminals, which asks a person for a password while a call waits. */

/* Starts it and waits until it is there, 5 s at most. Nothing is started, and *ret_pid is 0, as root or when
 * the standard input is no terminal: nobody could be asked. Without pkttyagent -ENOENT; a desktop's agent may
 * still answer. */
int agent_start(pid_t *ret_pid);
void agent_stop(pid_t pid);
