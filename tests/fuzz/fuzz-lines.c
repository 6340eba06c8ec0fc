/* SPDX-License-Identifier: MIT */
/* A byte stream cut into lines: the same lines, however it comes in pieces. The first byte is the size of the
 * pieces. */
#include "fuzz.h"

#include "lines.h"

#define CAPACITY 16u

/* Each line and a bar, each fault an exclamation mark. */
static GString *cut(const char *data, size_t size, size_t piece)
{
    GString *out = g_string_new(NULL);
    char buf[CAPACITY];
    struct lines l;

    lines_init(&l, buf, sizeof(buf));
    while (size > 0) {
        size_t n = MIN_OF(piece, size), left = n;
        const char *at = data, *line;
        size_t len;
        int r;

        while ((r = lines_next(&l, &at, &left, &line, &len)) != 0) {
            FUZZ_CHECK(r == 1 || r == -EMSGSIZE);
            FUZZ_CHECK(r < 0 || (len < CAPACITY && line[len] == '\0' && !memchr(line, '\n', len)));
            if (r > 0)
                g_string_append_len(out, line, (gssize)len);
            g_string_append_c(out, r > 0 ? '|' : '!');
        }
        FUZZ_CHECK(left == 0 && at == data + n);
        data += n;
        size -= n;
    }
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    GString *whole, *pieces;

    /* Below the size from which a line that does not end is said again, which is counted in pieces. */
    if (size < 2 || size > LINES_SKIP_MAX)
        return 0;
    whole = cut((const char *)data + 1, size - 1, size);
    pieces = cut((const char *)data + 1, size - 1, 1u + data[0] % 32);
    FUZZ_CHECK(g_string_equal(whole, pieces));
    g_string_free(whole, TRUE);
    g_string_free(pieces, TRUE);
    return 0;
}
