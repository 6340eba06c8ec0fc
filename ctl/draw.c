/* SPDX-License-Identifier: MIT */
#include "draw.h"

#include <inttypes.h>

void draw_colour(GString *out, const struct draw_style *s, enum draw_colour c, const char *format, ...)
{
    static const char *const codes[_DRAW_COLOUR_MAX] = {
        [DRAW_PLAIN] = "",
        [DRAW_BOLD] = "\033[1m",
        [DRAW_DIM] = "\033[2m",
        [DRAW_GREEN] = "\033[32m",
        [DRAW_YELLOW] = "\033[33m",
        [DRAW_RED] = "\033[31m",
        [DRAW_BLUE] = "\033[34m",
    };
    bool coloured = s->colour && c != DRAW_PLAIN;
    va_list args;

    if (coloured)
        g_string_append(out, codes[c]);
    va_start(args, format);
    g_string_append_vprintf(out, format, args);
    va_end(args);
    if (coloured)
        g_string_append(out, "\033[0m");
}

void draw_text(GString *out, const char *text, size_t columns)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    size_t n = 0;

    for (const char *p = valid; *p != '\0' && n < columns; p = g_utf8_next_char(p), n++) {
        gunichar c = g_utf8_get_char(p);

        g_string_append_unichar(out, g_unichar_isprint(c) ? c : '?');
    }
}

void draw_wrapped(GString *out, const struct draw_style *s, const char *text, unsigned indent)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    unsigned room = s->width - indent, at = 0;

    for (char **w = words; *w; w++) {
        g_autoptr(GString) word = g_string_new(NULL);
        unsigned length;

        draw_text(word, *w, room);
        length = (unsigned)g_utf8_strlen(word->str, -1);
        if (at > 0 && at + 1 + length > room) {
            g_string_append_printf(out, "\n%*s", (int)indent, "");
            at = 0;
        }
        g_string_append_printf(out, "%s%s", at > 0 ? " " : "", word->str);
        at += length + (at > 0 ? 1 : 0);
    }
}

/* The first cell after the segments whose amounts add up to `sum`. */
static unsigned cell_after(uint64_t sum, uint64_t total, unsigned cells)
{
    return (unsigned)(((__uint128_t)sum * cells + total / 2) / total);
}

void draw_bar(GString *out, const struct draw_style *s, const struct draw_segment *segments, size_t n,
        unsigned cells)
{
    uint64_t total = 0, sum = 0;
    unsigned at = 0;

    for (size_t i = 0; i < n; i++)
        total += MIN_OF(segments[i].amount, UINT64_MAX - total);
    for (size_t i = 0; i < n; i++) {
        const char *fill = s->utf8 ? segments[i].utf8 : segments[i].ascii;
        g_autoptr(GString) piece = g_string_new(NULL);
        unsigned end;

        sum += MIN_OF(segments[i].amount, UINT64_MAX - sum);
        end = total > 0 ? cell_after(sum, total, cells) : i + 1 == n ? cells : 0;
        for (; at < end; at++)
            g_string_append(piece, fill);
        if (piece->len > 0)
            draw_colour(out, s, segments[i].colour, "%s", piece->str);
    }
}

void draw_sparkline(GString *out, const struct draw_style *s, const uint64_t *values, size_t n, uint64_t max)
{
    static const char *const utf8[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
    static const char *const ascii[] = { "_", ".", ",", "-", "=", "+", "*", "#" };

    for (size_t i = 0; i < n; i++) {
        uint64_t value = MIN_OF(values[i], max);
        size_t step = max > 0 ? (size_t)(((__uint128_t)value * (ELEMENTSOF(utf8) - 1) + max - 1) / max) : 0;

        g_string_append(out, s->utf8 ? utf8[step] : ascii[step]);
    }
}

const char *draw_permyriad(char buf[static DRAW_SHORT_MAX], uint32_t permyriad)
{
    (void)snprintf(buf, DRAW_SHORT_MAX, "%" PRIu32 ".%02" PRIu32 " %%", permyriad / 100, permyriad % 100);
    return buf;
}

const char *draw_span(char buf[static DRAW_SHORT_MAX], uint64_t usec)
{
    static const struct {
        uint64_t from; /* spans of at least this are said in this unit */
        uint64_t unit;
        const char *name;
    } units[] = {
        { USEC_PER_SEC * 3600 * 48, USEC_PER_SEC * 3600 * 24, "days" },
        { USEC_PER_SEC * 3600 * 2, USEC_PER_SEC * 3600, "h" },
        { USEC_PER_SEC * 120, USEC_PER_SEC * 60, "min" },
        { USEC_PER_SEC, USEC_PER_SEC, "s" },
        { 0, USEC_PER_MSEC, "ms" },
    };
    size_t i = 0;

    while (usec < units[i].from)
        i++;
    (void)snprintf(buf, DRAW_SHORT_MAX, "%" PRIu64 " %s", usec / units[i].unit, units[i].name);
    return buf;
}

/* The last line is for what comes after the text, or says what is missing. */
void draw_cut(GString *text, unsigned rows)
{
    unsigned lines = 0, left = 0;
    char *cut = NULL;

    for (char *at = text->str; (at = strchr(at, '\n')); at++) {
        lines++;
        if (lines + 2 == MAX_OF(rows, 3u))
            cut = at + 1;
        else if (cut)
            left++;
    }
    if (lines < MAX_OF(rows, 3u) || !cut)
        return;
    g_string_truncate(text, (gsize)(cut - text->str));
    g_string_append_printf(text, "… %u more; a taller terminal or host list shows them\n", left);
}
