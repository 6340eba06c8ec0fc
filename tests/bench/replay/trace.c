/* SPDX-License-Identifier: MIT */
#include "trace.h"

#include <glib.h>
#include <inttypes.h>
#include <sys/stat.h>

/* A recording of one guest never reaches these limits; they keep all sums here within 64 bits. */
#define FILE_MAX MIB(256)
#define BYTES_MAX (UINT64_C(1) << 50)
#define SECONDS_MAX (UINT64_C(31) * 24 * 3600)
#define FRACTION_DIGITS 6u

enum column {
    COLUMN_TIME,
    COLUMN_USED,
    COLUMN_CACHED,
    _COLUMN_MAX,
    _COLUMN_INVALID = -EINVAL,
};

static const char *const names[_COLUMN_MAX] = {
    [COLUMN_TIME] = "time_s",
    [COLUMN_USED] = "used_bytes",
    [COLUMN_CACHED] = "cached_bytes",
};

struct reader {
    const char *name;
    unsigned line;
    size_t places[_COLUMN_MAX]; /* the column's cell in a line */
    size_t n_cells;
    GArray *rows;
    uint64_t start;
    char **ret_error;
};

_printf_(3, 4) static int refuse(const struct reader *r, int error, const char *format, ...)
{
    g_autofree char *why = NULL;
    va_list args;

    va_start(args, format);
    why = g_strdup_vprintf(format, args);
    va_end(args);
    *r->ret_error = g_strdup_printf("%s:%u: %s", r->name, r->line, why);
    return error;
}

static int read_header(struct reader *r, const char *line)
{
    g_auto(GStrv) cells = g_strsplit(line, ",", -1);

    r->n_cells = g_strv_length(cells);
    for (enum column c = 0; c < _COLUMN_MAX; c++) {
        size_t found = 0;

        for (size_t i = 0; i < r->n_cells; i++)
            if (streq(g_strstrip(cells[i]), names[c])) {
                r->places[c] = i;
                found++;
            }
        if (found != 1)
            return refuse(r, -EBADMSG, "column %s is %s", names[c], found == 0 ? "missing" : "duplicate");
    }
    return 0;
}

/* Reads digits only and leaves *p after them. */
static int read_digits(const char **p, uint64_t *ret)
{
    uint64_t value = 0;

    if (!g_ascii_isdigit(**p))
        return -EBADMSG;
    for (; g_ascii_isdigit(**p); (*p)++)
        if (__builtin_mul_overflow(value, 10, &value) ||
                __builtin_add_overflow(value, (uint64_t)(**p - '0'), &value))
            return -ERANGE;
    *ret = value;
    return 0;
}

static int read_bytes(const struct reader *r, enum column c, const char *cell, uint64_t *ret)
{
    const char *p = cell;
    uint64_t value = 0;
    int e = read_digits(&p, &value);

    if (*cell == '-')
        return refuse(r, -EBADMSG, "%s %s is negative", names[c], cell);
    if (e == -ERANGE || (e >= 0 && value > BYTES_MAX))
        return refuse(r, -ERANGE, "%s %s is above the limit of %s", names[c], cell, FORMAT_BYTES(BYTES_MAX));
    if (e < 0 || *p != '\0')
        return refuse(r, -EBADMSG, "%s '%s' is not a number of bytes", names[c], cell);
    *ret = value;
    return 0;
}

static int read_time(const struct reader *r, const char *cell, uint64_t *ret)
{
    const char *p = cell;
    uint64_t seconds = 0, usec = 0, unit = USEC_PER_SEC / 10;
    int e = read_digits(&p, &seconds);

    if (*cell == '-')
        return refuse(r, -EBADMSG, "time_s %s is negative", cell);
    if (e == -ERANGE || (e >= 0 && seconds > SECONDS_MAX))
        return refuse(r, -ERANGE, "time_s %s is above the limit of %" PRIu64, cell, SECONDS_MAX);
    if (e >= 0 && *p == '.') {
        for (p++; g_ascii_isdigit(*p); p++, unit /= 10)
            usec += unit * (uint64_t)(*p - '0');
    }
    if (e < 0 || *p != '\0')
        return refuse(r, -EBADMSG, "time_s '%s' is not a number of seconds", cell);
    *ret = seconds * USEC_PER_SEC + usec;
    return 0;
}

static int read_row(struct reader *r, const char *line)
{
    g_auto(GStrv) cells = g_strsplit(line, ",", -1);
    struct trace_row row = { 0 };
    int e;

    if (g_strv_length(cells) != r->n_cells)
        return refuse(r, -EBADMSG, "%u cells, the header has %zu", g_strv_length(cells), r->n_cells);
    for (size_t i = 0; i < r->n_cells; i++)
        g_strstrip(cells[i]);
    e = read_time(r, cells[r->places[COLUMN_TIME]], &row.time);
    if (e >= 0)
        e = read_bytes(r, COLUMN_USED, cells[r->places[COLUMN_USED]], &row.used);
    if (e >= 0)
        e = read_bytes(r, COLUMN_CACHED, cells[r->places[COLUMN_CACHED]], &row.cached);
    if (e < 0)
        return e;
    if (r->rows->len == 0)
        r->start = row.time;
    if (row.time < r->start ||
            (r->rows->len > 0 &&
                    row.time - r->start < g_array_index(r->rows, struct trace_row, r->rows->len - 1).time))
        return refuse(r, -EBADMSG, "time_s %s is before the last row", cells[r->places[COLUMN_TIME]]);
    row.time -= r->start;
    g_array_append_val(r->rows, row);
    return 0;
}

static int read_lines(struct reader *r, char *text)
{
    int e = 0;

    for (char *line = text, *next; line && e >= 0; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        r->line++;
        if (*g_strchomp(line) == '\0' && (!next || r->line > 1))
            continue;
        e = r->line == 1 ? read_header(r, line) : read_row(r, line);
    }
    return e;
}

int trace_parse(const char *name, const char *text, size_t len, struct trace *ret, char **ret_error)
{
    g_autoptr(GArray) rows = g_array_new(FALSE, FALSE, sizeof(struct trace_row));
    struct reader r = { .name = name, .rows = rows, .ret_error = ret_error };
    g_autofree char *copy = g_strndup(text, len);
    int e;

    if (memchr(text, '\0', len))
        return refuse(&r, -EBADMSG, "not a text file");
    if (len == 0)
        return refuse(&r, -EBADMSG, "the file is empty");
    e = read_lines(&r, copy);
    if (e < 0)
        return e;
    if (rows->len < 2 || g_array_index(rows, struct trace_row, rows->len - 1).time == 0)
        return refuse(&r, -EBADMSG, "%u rows; at least two with different times are required", rows->len);
    ret->n_rows = rows->len;
    ret->rows = g_memdup2(rows->data, rows->len * sizeof(struct trace_row));
    return 0;
}

int trace_load(const char *path, struct trace *ret, char **ret_error)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    struct stat st;
    gsize len;

    if (stat(path, &st) < 0) {
        int e = -errno;

        *ret_error = g_strdup_printf("%s: %s", path, strerror(-e));
        return e;
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > FILE_MAX) {
        *ret_error = g_strdup_printf("%s: not a regular file of at most %s", path, FORMAT_BYTES(FILE_MAX));
        return -EBADMSG;
    }
    if (!g_file_get_contents(path, &text, &len, &error)) {
        *ret_error = g_strdup(error->message);
        return -EIO;
    }
    return trace_parse(path, text, len, ret, ret_error);
}

void trace_clear(struct trace *t)
{
    g_free(t->rows);
    *t = (struct trace){ 0 };
}

uint64_t trace_duration(const struct trace *t)
{
    return t->rows[t->n_rows - 1].time;
}

/* Interpolates between a and b at part of whole; the products fit in 128 bits. */
static uint64_t between(uint64_t a, uint64_t b, uint64_t part, uint64_t whole)
{
    uint64_t move = (uint64_t)((unsigned __int128)(a > b ? a - b : b - a) * part / whole);

    return a > b ? a - move : a + move;
}

void trace_at(const struct trace *t, size_t *cursor, uint64_t time, uint64_t *ret_used, uint64_t *ret_cached)
{
    const struct trace_row *a, *b;

    while (*cursor + 2 < t->n_rows && t->rows[*cursor + 1].time <= time)
        (*cursor)++;
    a = &t->rows[*cursor];
    b = a + 1;
    if (time >= b->time) {
        *ret_used = b->used;
        *ret_cached = b->cached;
        return;
    }
    *ret_used = between(a->used, b->used, sub_floor(time, a->time), b->time - a->time);
    *ret_cached = between(a->cached, b->cached, sub_floor(time, a->time), b->time - a->time);
}
