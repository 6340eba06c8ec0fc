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

const char *text_excerpt(const char *text, char buf[static TEXT_EXCERPT_MAX])
{
    size_t n = strnlen(text, TEXT_EXCERPT_MAX - 1);

    /* In the middle of a character: back to where it begins. */
    while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--;
    memcpy(buf, text, n);
    buf[n] = '\0';
    return buf;
}
