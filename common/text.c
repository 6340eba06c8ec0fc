/* SPDX-License-Identifier: MIT */
#include "text.h"

#include <glib.h>

bool text_is_printable(const char *text)
{
    for (const char *p = text; *p != '\0'; p = g_utf8_next_char(p))
        if (g_unichar_iscntrl(g_utf8_get_char(p)))
            return false;
    return true;
}
