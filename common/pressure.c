/* SPDX-License-Identifier: MIT */
#include "pressure.h"

#include <inttypes.h>

#include "fields.h"
#include "procfile.h"

#define WINDOW_MAX_USEC (10 * USEC_PER_SEC)

/* "12.34" as 1234 */
static int parse_share(const char **p, uint32_t *ret)
{
    uint64_t whole, share;
    const char *s = *p;
    int r = fields_number(&s, &whole);

    if (r < 0)
        return r;
    if (whole > 100)
        return -ERANGE;
    if (s[0] != '.' || s[1] < '0' || s[1] > '9' || s[2] < '0' || s[2] > '9')
        return -EBADMSG;
    share = whole * 100 + (uint64_t)(s[1] - '0') * 10 + (uint64_t)(s[2] - '0');
    if (share > PERMYRIAD_ONE)
        return -ERANGE;
    *ret = (uint32_t)share;
    *p = s + 3;
    return 0;
}

static int expect(const char **p, const char *word)
{
    size_t len = strlen(word);

    if (strncmp(*p, word, len) != 0)
        return -EBADMSG;
    *p += len;
    return 0;
}

static int parse_line(const char **p, struct pressure_line *ret)
{
    static const char *const names[] = { " avg10=", " avg60=", " avg300=" };
    struct pressure_line l;
    uint32_t *averages[] = { &l.avg10, &l.avg60, &l.avg300 };
    int r;

    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        r = expect(p, names[i]);
        if (r >= 0)
            r = parse_share(p, averages[i]);
        if (r < 0)
            return r;
    }
    r = expect(p, " total=");
    if (r >= 0)
        r = fields_number(p, &l.total);
    if (r < 0)
        return r;
    if (**p == '\n')
        (*p)++;
    else if (**p != '\0')
        return -EBADMSG;
    *ret = l;
    return 0;
}

int pressure_parse(const char *text, struct pressure *ret)
{
    struct pressure result;
    bool some = false, full = false;

    while (*text != '\0') {
        bool is_some = strncmp(text, "some ", 5) == 0;
        bool *seen = is_some ? &some : &full;
        int r;

        if (!is_some && strncmp(text, "full ", 5) != 0)
            return -EBADMSG;
        if (*seen)
            return -EBADMSG;
        *seen = true;
        text += 4;
        r = parse_line(&text, is_some ? &result.some : &result.full);
        if (r < 0)
            return r;
    }
    if (!some || !full)
        return -EBADMSG;
    *ret = result;
    return 0;
}

int pressure_read(const char *path, struct pressure *ret)
{
    char buf[512];
    size_t len;
    int r = procfile_read(path, buf, sizeof(buf), &len);

    return r < 0 ? r : pressure_parse(buf, ret);
}

int pressure_trigger_format(
        const char *kind, uint64_t stall_usec, uint64_t window_usec, char *buf, size_t size, size_t *ret_len)
{
    int n;

    if (!streq(kind, "some") && !streq(kind, "full"))
        return -EINVAL;
    if (stall_usec == 0 || stall_usec > window_usec || window_usec > WINDOW_MAX_USEC)
        return -EINVAL;
    n = snprintf(buf, size, "%s %" PRIu64 " %" PRIu64, kind, stall_usec, window_usec);
    if (n < 0 || (size_t)n >= size)
        return -ENOBUFS;
    *ret_len = (size_t)n + 1;
    return 0;
}
