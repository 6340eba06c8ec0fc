/* SPDX-License-Identifier: MIT */
#pragma once

#include <jansson.h>

#include "draw.h"
#include "screen.h"

/* The standard output: what it can show, and the writing to it. */

/* Colours only on a terminal, and not with NO_COLOR set (no-color.org) or TERM=dumb. */
struct draw_style terminal_style(void);
bool terminal_is_one(void);

struct screen_clock terminal_clock(void);

/* Both flush; -EPIPE and the like when nobody reads any more. */
int terminal_print(const GString *text);
/* To the lines that the terminal has: a last line says how many more there are. */
void terminal_cut(GString *text);
/* One line when compact, for streams of values. */
int terminal_print_json(const json_t *value, bool compact);
