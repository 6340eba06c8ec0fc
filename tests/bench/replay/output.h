/* SPDX-License-Identifier: MIT */
#pragma once

#include "replay.h"

/* Prints one "name: value" per line. */
void output_print(FILE *file, const struct replay_result *r);
/* Writes one row per second. Returns negative errno when the file cannot be written. */
int output_csv(const char *path, const struct replay_result *r);
/* Draws the demand and the memory that the guest held, as SVG. Returns negative errno like output_csv(). */
int output_plot(const char *path, const struct replay_result *r);
