/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* Text that goes to logs and listeners: no control characters, of Unicode's C0 and C1 neither. text is UTF-8
 * (the bus has checked that). */
bool text_is_printable(const char *text);
