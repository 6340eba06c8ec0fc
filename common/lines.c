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
            l->len = 0;
            l->skipping = !newline;
            return -EMSGSIZE;
        }
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
