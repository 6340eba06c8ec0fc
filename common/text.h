/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* Text that goes to logs and listeners: no control characters, of Unicode's C0 and C1 neither. text is UTF-8
 * (the bus has checked that). */
bool text_is_printable(const char *text);

/* What an error quotes of a text: at most 32 bytes, in whole characters. Half of one would not be UTF-8, and
 * sd-bus sends no answer at all then. */
#define TEXT_EXCERPT_MAX 33u
const char *text_excerpt(const char *text, char buf[static TEXT_EXCERPT_MAX]);
#define TEXT_EXCERPT(text) text_excerpt((text), (char[TEXT_EXCERPT_MAX]){ 0 })
