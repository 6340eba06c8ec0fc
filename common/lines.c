/* SPDX-License-Identifier: MIT */
#include "lines.h"

void lines_init(struct lines *l, char *buf, size_t capacity)
{
    *l = (struct lines){ .buf = buf, .capacity = capacity };
}

void lines_reset(struct lines *l, bool resync)
{
    l->len = 0;
    l->skipping = resync;
    l->skipped = 0;
}

/* In the middle of a line that is dropped: n more bytes of it have come. True: it is time to say so again. */
static bool skip(struct lines *l, size_t n)
{
    bool again = n >= LINES_SKIP_MAX - l->skipped;

    l->skipped = again ? 0 : l->skipped + n;
    return again;
}

int lines_next(struct lines *l, const char **data, size_t *n, const char **ret_line, size_t *ret_len)
{
    while (*n > 0) {
        const char *newline = memchr(*data, '\n', *n);
        size_t take = newline ? (size_t)(newline - *data) : *n;
        size_t consumed = newline ? take + 1 : take;
        bool too_long = !l->skipping && take > l->capacity - 1 - l->len;

        if (!l->skipping && !too_long) {
            memcpy(l->buf + l->len, *data, take);
            l->len += take;
        }
        *data += consumed;
        *n -= consumed;
        if (too_long) {
            l->len = l->skipped = 0;
            l->skipping = !newline;
            return -EMSGSIZE;
        }
        if (!newline && l->skipping && skip(l, take))
            return -EMSGSIZE;
        if (!newline)
            continue;
        if (l->skipping) {
            l->skipping = false;
            continue;
        }
        l->buf[l->len] = '\0';
        *ret_line = l->buf;
        *ret_len = l->len;
        l->len = 0;
        return 1;
    }
    return 0;
}
