/* SPDX-License-Identifier: MIT */
#include "text.h"

#include <glib.h>

/* Excludes the characters that move the cursor or reorder text: control characters (C0, DEL, C1), format
 * characters such as bidirectional marks, and line and paragraph separators. */
static bool is_printable(gunichar c)
{
    GUnicodeType type = g_unichar_type(c);

    return g_unichar_isprint(c) && type != G_UNICODE_LINE_SEPARATOR && type != G_UNICODE_PARAGRAPH_SEPARATOR;
}

bool text_is_printable(const char *text)
{
    for (const char *p = text; *p != '\0'; p = g_utf8_next_char(p))
        if (!is_printable(g_utf8_get_char(p)))
            return false;
    return true;
}

void text_mask(char *text)
{
    while (*text != '\0') {
        gunichar c = g_utf8_get_char_validated(text, -1);
        bool valid = c != (gunichar)-1 && c != (gunichar)-2;
        size_t n = valid ? (size_t)g_unichar_to_utf8(c, NULL) : 1;

        if (!valid || !is_printable(c))
            memset(text, '?', n);
        text += n;
    }
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
