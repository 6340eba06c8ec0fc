/* SPDX-License-Identifier: MIT */
#include "meminfo.h"

#include "fields.h"
#include "procfile.h"

#define BUFFER_SIZE (16 * 1024)

static const struct field table[] = {
    { "MemTotal", offsetof(struct meminfo, total), false },
    { "MemFree", offsetof(struct meminfo, free), false },
    { "MemAvailable", offsetof(struct meminfo, available), false },
    { "Buffers", offsetof(struct meminfo, buffers), false },
    { "Cached", offsetof(struct meminfo, cached), false },
    { "SwapTotal", offsetof(struct meminfo, swap_total), false },
    { "SwapFree", offsetof(struct meminfo, swap_free), false },
    { "Shmem", offsetof(struct meminfo, shmem), false },
    { "Active(file)", offsetof(struct meminfo, active_file), false },
    { "Inactive(file)", offsetof(struct meminfo, inactive_file), false },
    { "SReclaimable", offsetof(struct meminfo, sreclaimable), false },
};

/* "Name:   123 kB" or, of a few that are not wanted, without a unit. */
static int parse_line(struct fields *f, const char *line, const char *end)
{
    const char *colon = memchr(line, ':', (size_t)(end - line)), *p;
    uint64_t value;
    bool kb;
    int r;

    if (!colon)
        return -EBADMSG;
    for (p = colon + 1; p < end && *p == ' '; p++)
        ;
    r = fields_number(&p, &value);
    if (r < 0)
        return r;
    kb = end - p == 3 && memcmp(p, " kB", 3) == 0;
    if (!kb && p != end)
        return -EBADMSG;
    return fields_set(f, line, (size_t)(colon - line), value, kb ? 1024 : 1);
}

static bool possible(const struct meminfo *m)
{
    return m->total > 0 && m->free <= m->total && m->available <= m->total && m->swap_free <= m->swap_total;
}

int meminfo_parse(const char *text, struct meminfo *ret)
{
    struct meminfo m = { 0 };
    struct fields f = { table, ELEMENTSOF(table), &m, 0 };
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
    if (!possible(&m))
        return -ERANGE;
    *ret = m;
    return 0;
}

int meminfo_read(const char *path, struct meminfo *ret)
{
    char buf[BUFFER_SIZE];
    size_t len;
    int r = procfile_read(path, buf, sizeof(buf), &len);

    return r < 0 ? r : meminfo_parse(buf, ret);
}
