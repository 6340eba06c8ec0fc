/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>

#include "macro.h"

/* Pieces of a terminal screen, written into a GString. Nothing here looks at the terminal. */

struct draw_style {
    bool colour;
    bool utf8;
    unsigned width; /* columns, at least DRAW_WIDTH_MIN */
};

#define DRAW_WIDTH_MIN 60u
#define DRAW_WIDTH_MAX 120u

enum draw_colour {
    DRAW_PLAIN,
    DRAW_BOLD,
    DRAW_DIM,
    DRAW_GREEN,
    DRAW_YELLOW,
    DRAW_RED,
    DRAW_BLUE,
    _DRAW_COLOUR_MAX,
    _DRAW_COLOUR_INVALID = -EINVAL,
};

void draw_colour(GString *out, const struct draw_style *s, enum draw_colour c, const char *format, ...)
        _printf_(4, 5);

/* Somebody else's text: control characters and broken UTF-8 become '?', and it ends after `columns`. */
void draw_text(GString *out, const char *text, size_t columns);
/* Words of it in lines, each after the first beginning with `indent` blanks; no newline at the end. */
void draw_wrapped(GString *out, const struct draw_style *s, const char *text, unsigned indent);

struct draw_segment {
    uint64_t amount;
    const char *utf8;  /* what fills a cell of it, one column wide */
    const char *ascii; /* the same without UTF-8 */
    enum draw_colour colour;
};
/* Exactly `cells` columns, shared out by amount. All amounts 0: the last segment's cells. */
void draw_bar(GString *out, const struct draw_style *s, const struct draw_segment *segments, size_t n,
        unsigned cells);

/* One column for each value, 0 lowest; values over max are drawn as max. */
void draw_sparkline(GString *out, const struct draw_style *s, const uint64_t *values, size_t n, uint64_t max);

#define DRAW_SHORT_MAX 32
/* 1234 → "12.34 %". */
const char *draw_permyriad(char buf[static DRAW_SHORT_MAX], uint32_t permyriad);
/* µs → "80 ms", "12 s", "3 min", "5 h", "2 days". */
const char *draw_span(char buf[static DRAW_SHORT_MAX], uint64_t usec);
#define DRAW_PERMYRIAD(v) draw_permyriad((char[DRAW_SHORT_MAX]){ 0 }, (v))
#define DRAW_SPAN(v) draw_span((char[DRAW_SHORT_MAX]){ 0 }, (v))

/* To so many lines, of which the last one is empty or says how many are left out. */
void draw_cut(GString *text, unsigned rows);
