/* SPDX-License-Identifier: MIT */
#pragma once

#include "replay.h"

/* One "name: value" a line. */
void output_print(FILE *file, const struct replay_result *r);
/* One row a second. Negative errno when the file cannot be written. */
int output_csv(const char *path, const struct replay_result *r);
/* A picture of demand and of what was held, as SVG. */
int output_plot(const char *path, const struct replay_result *r);
