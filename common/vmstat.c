/* SPDX-License-Identifier: MIT */
#include "vmstat.h"

#include "fields.h"

static const struct field table[] = {
    { "workingset_refault_anon", offsetof(struct vmstat, workingset_refault_anon), false },
    { "workingset_refault_file", offsetof(struct vmstat, workingset_refault_file), false },
    { "pgscan_direct", offsetof(struct vmstat, pgscan_direct), false },
    { "pgsteal_direct", offsetof(struct vmstat, pgsteal_direct), false },
    { "pgsteal_kswapd", offsetof(struct vmstat, pgsteal_kswapd), false },
    { "oom_kill", offsetof(struct vmstat, oom_kill), false },
    { "pswpin", offsetof(struct vmstat, pswpin), true },
    { "pswpout", offsetof(struct vmstat, pswpout), true },
};
#define BIT_PSWPIN (UINT32_C(1) << 6)
#define BIT_PSWPOUT (UINT32_C(1) << 7)

static int parse_line(struct fields *f, const char *line, const char *end)
{
    const char *space = memchr(line, ' ', (size_t)(end - line)), *p;
    uint64_t value;
    int r;

    if (!space)
        return -EBADMSG;
    p = space + 1;
    r = fields_number(&p, &value);
    if (r < 0)
        return r;
    if (p != end)
        return -EBADMSG;
    return fields_set(f, line, (size_t)(space - line), value, 1);
}

int vmstat_parse(const char *text, struct vmstat *ret)
{
    struct vmstat v = { 0 };
    struct fields f = { table, ELEMENTSOF(table), &v, 0 };
    int r;

    while (*text != '\0') {
        const char *end = strchrnul(text, '\n');

        r = parse_line(&f, text, end);
        if (r < 0)
            return r;
        text = *end == '\n' ? end + 1 : end;
    }
    r = fields_complete(&f);
    if (r < 0)
        return r;
    if (!(f.seen & BIT_PSWPIN) != !(f.seen & BIT_PSWPOUT))
        return -EBADMSG;
    *ret = v;
    return 0;
}
