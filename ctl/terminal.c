/* SPDX-License-Identifier: MIT */
#include "terminal.h"

#include <langinfo.h>
#include <sys/ioctl.h>
#include <time.h>

static uint64_t clock_usec(clockid_t id)
{
    struct timespec t = { 0 };

    (void)clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / NSEC_PER_USEC;
}

struct screen_clock terminal_clock(void)
{
    return (struct screen_clock){ clock_usec(CLOCK_REALTIME), clock_usec(CLOCK_BOOTTIME) };
}

bool terminal_is_one(void)
{
    return isatty(STDOUT_FILENO) > 0;
}

/* 80 where the terminal does not say. */
static unsigned columns(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return 80;
    return CLAMP_TO(size.ws_col, DRAW_WIDTH_MIN, DRAW_WIDTH_MAX);
}

struct draw_style terminal_style(void)
{
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");

    return (struct draw_style){
        .colour = terminal_is_one() && !(no_colour && *no_colour) && term && !streq(term, "dumb"),
        .utf8 = streq(nl_langinfo(CODESET), "UTF-8"),
        .width = columns(),
    };
}

static int flush(void)
{
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : -(errno ?: EIO);
}

void terminal_cut(GString *text)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) >= 0 && size.ws_row > 0)
        draw_cut(text, size.ws_row);
}

int terminal_print(const GString *text)
{
    (void)fwrite(text->str, 1, text->len, stdout);
    return flush();
}

int terminal_print_json(const json_t *value, bool compact)
{
    if (json_dumpf(value, stdout, JSON_ENSURE_ASCII | (compact ? JSON_COMPACT : JSON_INDENT(2))) < 0)
        return -EIO;
    (void)putchar('\n');
    return flush();
}
