/* SPDX-License-Identifier: MIT */
#include "screen.h"

#include <inttypes.h>
#include <time.h>

#include "bytes.h"

/* Where what is said begins, after its name. */
#define INDENT 11u

static void begin(GString *out, const struct draw_style *s, const char *name)
{
    draw_colour(out, s, DRAW_BOLD, "%-*s", (int)INDENT, name);
}

static const char *size_or(char buf[static BYTES_FORMAT_MAX], uint64_t bytes, const char *none)
{
    return bytes == UINT64_MAX ? none : bytes_format(buf, bytes);
}
#define SIZE_OR(v, none) size_or((char[BYTES_FORMAT_MAX]){ 0 }, (v), (none))

static enum draw_colour level_colour(const char *level)
{
    if (streq(level, "critical"))
        return DRAW_RED;
    return streq(level, "normal") ? DRAW_GREEN : DRAW_YELLOW;
}

static void clock_time(GString *out, uint64_t realtime_usec)
{
    time_t seconds = (time_t)(realtime_usec / USEC_PER_SEC);
    struct tm tm;
    char text[16];

    if (localtime_r(&seconds, &tm) && strftime(text, sizeof(text), "%H:%M:%S", &tm) > 0)
        g_string_append(out, text);
}

static void head(GString *out, const struct draw_style *s, const struct ctl_state *st)
{
    begin(out, s, "vmtide");
    if (!st->monitor)
        draw_colour(out, s, DRAW_RED, "no monitor: nothing grows or shrinks by itself");
    else {
        g_string_append_printf(out, "%s, ", st->mode);
        draw_colour(out, s, level_colour(st->level), "%s", st->level);
    }
    g_string_append(out, "; ");
    if (!st->actuator)
        draw_colour(out, s, DRAW_RED, "no actuator");
    else if (!st->host_connected)
        draw_colour(out, s, DRAW_RED, "no host answers");
    else
        g_string_append(out, "host connected");
    g_string_append_c(out, '\n');
}

static void pause_line(GString *out, const struct draw_style *s, const struct ctl_state *st)
{
    if (st->paused_until == 0)
        return;
    begin(out, s, "Paused");
    g_string_append(out, "until ");
    if (st->paused_until == UINT64_MAX)
        g_string_append(out, "it is resumed");
    else
        clock_time(out, st->paused_until);
    if (*st->pause_reason) {
        g_string_append(out, ": ");
        draw_text(out, st->pause_reason, s->width - INDENT - 22);
    }
    g_string_append_c(out, '\n');
}

/* Boot memory and what is plugged; the headroom is the last part of the two together. */
static void bar_lines(GString *out, const struct draw_style *s, const struct ctl_state *st)
{
    uint64_t there = st->boot_size + st->size;
    uint64_t max = st->max_size == UINT64_MAX ? MAX_OF(st->size, st->requested_size) : st->max_size;
    uint64_t headroom = MIN_OF(MIN_OF(st->headroom, st->available), there);
    uint64_t boot = MIN_OF(st->boot_size, there - headroom);
    const struct draw_segment segments[] = {
        { boot, "█", "#", DRAW_BLUE },
        { there - headroom - boot, "▓", "=", DRAW_GREEN },
        { headroom, "▒", "+", DRAW_YELLOW },
        { sub_floor(max, st->size), "·", ".", DRAW_DIM },
    };

    begin(out, s, "Memory");
    g_string_append_printf(out, "%s of %s\n%*s", FORMAT_BYTES(there),
            FORMAT_BYTES(st->boot_size + MAX_OF(max, st->size)), (int)INDENT, "");
    draw_bar(out, s, segments, ELEMENTSOF(segments), s->width - INDENT);
    g_string_append_printf(out, "\n%*s%s boot %s  %s plugged %s  %s headroom %s  %s max %s\n", (int)INDENT,
            "", s->utf8 ? segments[0].utf8 : segments[0].ascii, FORMAT_BYTES(st->boot_size),
            s->utf8 ? segments[1].utf8 : segments[1].ascii, FORMAT_BYTES(st->size),
            s->utf8 ? segments[2].utf8 : segments[2].ascii, FORMAT_BYTES(st->headroom),
            s->utf8 ? segments[3].utf8 : segments[3].ascii, SIZE_OR(st->max_size, "unknown"));
}

static void size_lines(GString *out, const struct draw_style *s, const struct ctl_state *st)
{
    begin(out, s, "Size");
    g_string_append_printf(
            out, "%s, requested %s, ", FORMAT_BYTES(st->size), FORMAT_BYTES(st->requested_size));
    draw_colour(out, s,
            streq(st->state, "idle")                  ? DRAW_PLAIN
            : g_str_has_suffix(st->state, "plugging") ? DRAW_YELLOW
                                                      : DRAW_RED,
            "%s", st->state);
    g_string_append_c(out, '\n');
    begin(out, s, "Limits");
    g_string_append_printf(
            out, "%s to %s", FORMAT_BYTES(st->min_size), SIZE_OR(st->max_size, "what the host allows"));
    if (st->host_connected)
        g_string_append_printf(out, "; the host's: %s to %s", FORMAT_BYTES(st->host_min_size),
                FORMAT_BYTES(st->host_max_size));
    g_string_append_c(out, '\n');
}

static void guard_lines(GString *out, const struct draw_style *s, const struct ctl_state *st)
{
    begin(out, s, "Guard");
    if (st->guard_headroom > 0)
        g_string_append_printf(out, "armed, keeps %s free%s\n", FORMAT_BYTES(st->guard_headroom),
                st->guard_held ? "; tasks wait for memory" : "");
    else
        g_string_append(out, "not armed\n");
}

static void monitor_lines(GString *out, const struct draw_style *s, const struct ctl_state *st)
{
    begin(out, s, "Available");
    draw_colour(
            out, s, st->available < st->headroom ? DRAW_RED : DRAW_PLAIN, "%s", FORMAT_BYTES(st->available));
    g_string_append_printf(out, ", of which %s are to be kept ready\n", FORMAT_BYTES(st->headroom));
    begin(out, s, "Pressure");
    g_string_append_printf(out, "%s of the last 10 s\n", DRAW_PERMYRIAD(st->some10));
}

static void decision_lines(
        GString *out, const struct draw_style *s, const json_t *d, const struct screen_clock *now)
{
    uint64_t bytes = state_number(d, "bytes");

    g_string_append_printf(
            out, "%s ago: ", DRAW_SPAN(sub_floor(now->realtime_usec, state_number(d, "time"))));
    draw_text(out, state_text(d, "action"), 8);
    if (bytes > 0)
        g_string_append_printf(out, " %s", FORMAT_BYTES(bytes));
    if (*state_text(d, "outcome")) {
        g_string_append(out, "; ");
        draw_text(out, state_text(d, "outcome"), s->width - INDENT - 32);
    }
    g_string_append_printf(out, "\n%*s", (int)INDENT, "");
    draw_wrapped(out, s, state_text(d, "text"), INDENT);
    g_string_append_c(out, '\n');
}

/* The newest decision, and when that is to hold, the last one to do something too. */
static void last_lines(
        GString *out, const struct draw_style *s, const struct ctl_state *st, const struct screen_clock *now)
{
    const json_t *newest = json_array_get(st->decisions, 0), *act = NULL;

    for (size_t i = 0; !act && i < json_array_size(st->decisions); i++) {
        const json_t *d = json_array_get(st->decisions, i);

        act = streq(state_text(d, "action"), "hold") ? NULL : d;
    }
    if (newest && newest != act) {
        begin(out, s, "Now");
        g_string_append(out, "hold: ");
        draw_wrapped(out, s, state_text(newest, "text"), INDENT + 6);
        g_string_append_c(out, '\n');
    }
    if (act) {
        begin(out, s, "Last");
        decision_lines(out, s, act, now);
    }
}

void screen_status(
        GString *out, const struct draw_style *s, const struct ctl_state *st, const struct screen_clock *now)
{
    head(out, s, st);
    pause_line(out, s, st);
    g_string_append_c(out, '\n');
    if (st->actuator) {
        bar_lines(out, s, st);
        size_lines(out, s, st);
    }
    if (st->monitor)
        monitor_lines(out, s, st);
    if (st->actuator)
        guard_lines(out, s, st);
    if (st->reservations) {
        begin(out, s, "Reserved");
        g_string_append_printf(out, "%s\n", FORMAT_BYTES(st->reserved_bytes));
        screen_reservations(out, s, st->reservations, now, INDENT);
    }
    last_lines(out, s, st, now);
    if (*st->last_error) {
        begin(out, s, "Refused");
        draw_wrapped(out, s, st->last_error, INDENT);
        g_string_append_c(out, '\n');
    }
}

void screen_reservations(GString *out, const struct draw_style *s, const json_t *reservations,
        const struct screen_clock *now, unsigned indent)
{
    for (size_t i = 0; i < json_array_size(reservations); i++) {
        const json_t *one = json_array_get(reservations, i);

        g_string_append_printf(out, "%*s%-6s  ", (int)indent, "", FORMAT_BYTES(state_number(one, "bytes")));
        draw_text(out, state_text(one, "who"), 20);
        g_string_append_printf(out, " (uid %" PRIu64 ", %s)", state_number(one, "uid"),
                DRAW_SPAN(sub_floor(now->boottime_usec, state_number(one, "since"))));
        if (*state_text(one, "why")) {
            g_string_append(out, ": ");
            draw_text(out, state_text(one, "why"), s->width - MIN_OF(indent + 50, s->width - 10));
        }
        g_string_append_c(out, '\n');
    }
}

static void decision_numbers(GString *out, const struct draw_style *s, const json_t *d)
{
    g_autoptr(GString) text = g_string_new(NULL);

    g_string_append_printf(text, "size %s, available %s (%s projected), headroom %s, spare %s,",
            FORMAT_BYTES(state_number(d, "size")), FORMAT_BYTES(state_number(d, "available")),
            FORMAT_BYTES(state_number(d, "projected")), FORMAT_BYTES(state_number(d, "headroom")),
            FORMAT_BYTES(state_number(d, "spare")));
    g_string_append_printf(text, " falling %s/s, refaults %s/s, round trip %s,",
            FORMAT_BYTES(state_number(d, "rate")), FORMAT_BYTES(state_number(d, "refault-rate")),
            DRAW_SPAN(state_number(d, "round-trip")));
    g_string_append_printf(text, " pressure %s (10 s), %s (60 s)",
            DRAW_PERMYRIAD((uint32_t)state_number(d, "pressure10")),
            DRAW_PERMYRIAD((uint32_t)state_number(d, "pressure60")));
    draw_wrapped(out, s, text->str, INDENT);
}

void screen_decision(GString *out, const struct draw_style *s, const json_t *d)
{
    uint64_t bytes = state_number(d, "bytes");

    clock_time(out, state_number(d, "time"));
    g_string_append(out, "   ");
    draw_colour(out, s, DRAW_BOLD, "%s", state_text(d, "action"));
    if (bytes > 0)
        g_string_append_printf(out, " %s", FORMAT_BYTES(bytes));
    g_string_append_printf(out, " (%s, %s)", state_text(d, "reason"), state_text(d, "level"));
    if (*state_text(d, "outcome")) {
        g_string_append(out, ": ");
        draw_text(out, state_text(d, "outcome"), s->width);
    }
    g_string_append_printf(out, "\n%*s", (int)INDENT, "");
    draw_wrapped(out, s, state_text(d, "text"), INDENT);
    g_string_append_printf(out, "\n%*s", (int)INDENT, "");
    decision_numbers(out, s, d);
    g_string_append_c(out, '\n');
}

void screen_history_add(struct screen_history *h, const struct ctl_state *st)
{
    if (h->n == SCREEN_HISTORY_MAX) {
        memmove(h->size, h->size + 1, sizeof(h->size) - sizeof(h->size[0]));
        memmove(h->some10, h->some10 + 1, sizeof(h->some10) - sizeof(h->some10[0]));
        h->n--;
    }
    h->size[h->n] = st->boot_size + st->size;
    h->some10[h->n++] = st->some10;
}

void screen_history(
        GString *out, const struct draw_style *s, const struct screen_history *h, const struct ctl_state *st)
{
    size_t shown = MIN_OF(h->n, s->width - INDENT);
    uint64_t size_max = 0, some10_max = 100; /* a hundredth is the least that fills a column */

    for (size_t i = h->n - shown; i < h->n; i++) {
        size_max = MAX_OF(size_max, h->size[i]);
        some10_max = MAX_OF(some10_max, h->some10[i]);
    }
    if (st->max_size != UINT64_MAX)
        size_max = MAX_OF(size_max, st->boot_size + st->max_size);
    g_string_append_c(out, '\n');
    begin(out, s, "Size");
    draw_sparkline(out, s, h->size + h->n - shown, shown, size_max);
    g_string_append_c(out, '\n');
    begin(out, s, "Pressure");
    draw_sparkline(out, s, h->some10 + h->n - shown, shown, some10_max);
    g_string_append_printf(out, "\n%*sto %s and %s, the last minute\n", (int)INDENT, "",
            FORMAT_BYTES(size_max), DRAW_PERMYRIAD((uint32_t)some10_max));
}

void screen_line(GString *out, const struct ctl_state *st, const struct screen_clock *now)
{
    clock_time(out, now->realtime_usec);
    if (st->actuator)
        g_string_append_printf(out, " size %s requested %s max %s state %s host %s", FORMAT_BYTES(st->size),
                FORMAT_BYTES(st->requested_size), SIZE_OR(st->max_size, "none"), st->state,
                st->host_connected ? "yes" : "no");
    else
        g_string_append(out, " no actuator");
    if (st->monitor)
        g_string_append_printf(out, " available %s headroom %s pressure %s level %s mode %s",
                FORMAT_BYTES(st->available), FORMAT_BYTES(st->headroom), DRAW_PERMYRIAD(st->some10),
                st->level, st->mode);
    else
        g_string_append(out, " no monitor");
}
