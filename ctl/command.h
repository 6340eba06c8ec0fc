/* SPDX-License-Identifier: MIT */
#pragma once

/* Runs a command and waits for its end. Returns its exit status, 128 + n when signal n killed it, 127 when
 * there is no such command, 126 when it cannot be run. SIGTERM and SIGHUP are passed on to it; SIGINT and
 * SIGQUIT come to it from the terminal anyway. It ends with us. */
int command_run(char **command);

/* Waits for SIGINT, SIGTERM or SIGHUP. */
void command_wait_for_signal(void);
