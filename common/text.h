/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* Whether a text may be logged, printed or signalled: it has no control characters (C0, DEL, C1), no format
 * characters, and no line or paragraph separators. text must be valid UTF-8. */
bool text_is_printable(const char *text);

/* Replaces each byte of an unprintable character or of invalid UTF-8 by '?'. For text from other programs. */
void text_mask(char *text);

/* What an error quotes of a text: at most 32 bytes, in whole characters. Half of one would not be UTF-8, and
 * sd-bus sends no answer at all then. */
#define TEXT_EXCERPT_MAX 33u
const char *text_excerpt(const char *text, char buf[static TEXT_EXCERPT_MAX]);
#define TEXT_EXCERPT(text) text_excerpt((text), (char[TEXT_EXCERPT_MAX]){ 0 })
