/* SPDX-License-Identifier: MIT */
#include "zoneinfo.h"

#include "fields.h"
#include "procfile.h"

struct zone {
    uint64_t free;
    uint64_t min;
    uint64_t low;
    uint64_t managed;
    uint64_t active_file;
    uint64_t inactive_file;
    uint64_t protection; /* pages that user allocations must leave */
};

static const struct field table[] = {
    { "pages free", offsetof(struct zone, free), false },
    { "min", offsetof(struct zone, min), false },
    { "low", offsetof(struct zone, low), false },
    { "managed", offsetof(struct zone, managed), false },
    { "nr_zone_active_file", offsetof(struct zone, active_file), true },
    { "nr_zone_inactive_file", offsetof(struct zone, inactive_file), true },
};

enum zone_kind {
    ZONE_KERNEL,
    ZONE_MOVABLE,
    ZONE_OTHER,
    _ZONE_KIND_MAX,
    _ZONE_KIND_INVALID = -EINVAL,
};

/* "Node 0, zone   Normal" */
static enum zone_kind zone_kind_of(const char *line, const char *end)
{
    static const char *const kernel[] = { "DMA", "DMA32", "Normal", "HighMem" };
    const char *name = end;
    size_t len;

    while (name > line && name[-1] != ' ')
        name--;
    len = (size_t)(end - name);
    if (len == 7 && memcmp(name, "Movable", 7) == 0)
        return ZONE_MOVABLE;
    for (size_t i = 0; i < ELEMENTSOF(kernel); i++)
        if (strlen(kernel[i]) == len && memcmp(kernel[i], name, len) == 0)
            return ZONE_KERNEL;
    return ZONE_OTHER;
}

/* "  pages free     3840", "        min      67", "      nr_zone_active_file 12"; what has no single number
 * is ignored. The per-CPU sets below ("high:", "batch:") end in a colon and so never match. */
static int parse_field(struct fields *f, const char *line, const char *end)
{
    const char *number = end, *name = line, *name_end, *p;
    uint64_t value;
    int r;

    while (name < end && *name == ' ')
        name++;
    /* Most lines are counters of the node and of each processor, and are not worth a look. */
    if (name == end || !strchr("pml", *name))
        if (end - name < 8 || memcmp(name, "nr_zone_", 8) != 0)
            return 0;
    while (number > name && number[-1] >= '0' && number[-1] <= '9')
        number--;
    if (number == end || number == name || number[-1] != ' ')
        return 0;
    for (name_end = number; name_end > name && name_end[-1] == ' '; name_end--)
        ;
    p = number;
    r = fields_number(&p, &value);
    if (r < 0)
        return r;
    return fields_set(f, name, (size_t)(name_end - name), value, 1);
}

/* "        protection: (0, 874, 874, 1898, 1898)": lowmem_reserve[] of the zone, by the zone that an
 * allocation would prefer. User pages prefer Movable, and the entries grow with the zone, so the largest is
 * theirs. */
static int parse_protection(struct zone *zone, const char *line, const char *end)
{
    static const char name[] = "protection: (";
    const char *p = line;

    while (p < end && *p == ' ')
        p++;
    if ((size_t)(end - p) < sizeof(name) - 1 || memcmp(p, name, sizeof(name) - 1) != 0)
        return 0;
    for (p += sizeof(name) - 1; p < end; p++) {
        uint64_t value;

        if (*p < '0' || *p > '9')
            continue;
        if (fields_number(&p, &value) < 0)
            return -ERANGE;
        zone->protection = MAX_OF(zone->protection, value);
    }
    return 0;
}

static int add_pages(uint64_t *sum, uint64_t pages, uint64_t page_size)
{
    uint64_t bytes;

    if (__builtin_mul_overflow(pages, page_size, &bytes) || __builtin_add_overflow(*sum, bytes, sum))
        return -ERANGE;
    return 0;
}

static int add_movable(struct zoneinfo *z, const struct zone *zone, uint64_t page_size)
{
    if (add_pages(&z->movable_free, zone->free, page_size) < 0 ||
            add_pages(&z->movable_managed, zone->managed, page_size) < 0)
        return -ERANGE;
    return 0;
}

static int add_kernel(struct zoneinfo *z, const struct zone *zone, uint64_t page_size)
{
    if (add_pages(&z->kernel_free, zone->free, page_size) < 0 ||
            add_pages(&z->kernel_min, zone->min, page_size) < 0 ||
            add_pages(&z->kernel_low, zone->low, page_size) < 0 ||
            add_pages(&z->kernel_managed, zone->managed, page_size) < 0 ||
            add_pages(&z->kernel_file, zone->active_file, page_size) < 0 ||
            add_pages(&z->kernel_file, zone->inactive_file, page_size) < 0 ||
            add_pages(&z->kernel_room, sub_floor(zone->free, zone->min), page_size) < 0 ||
            add_pages(&z->kernel_reserve, MIN_OF(zone->protection, zone->managed), page_size) < 0)
        return -ERANGE;
    return 0;
}

/* User pages enter a zone while more than its low watermark and its protection are free. */
static int add_zone(struct zoneinfo *z, enum zone_kind kind, const struct fields *f, uint64_t page_size)
{
    const struct zone *zone = f->target;
    int r = fields_complete(f);

    if (r < 0 || kind == ZONE_OTHER)
        return r;
    if (zone->free > zone->managed)
        return -ERANGE;
    r = kind == ZONE_MOVABLE ? add_movable(z, zone, page_size) : add_kernel(z, zone, page_size);
    if (r < 0)
        return r;
    return add_pages(&z->user_room, sub_floor(sub_floor(zone->free, zone->low), zone->protection), page_size);
}

int zoneinfo_parse(const char *text, uint64_t page_size, struct zoneinfo *ret)
{
    struct zoneinfo z = { 0 };
    struct zone zone = { 0 };
    struct fields f = { table, ELEMENTSOF(table), &zone, 0 };
    enum zone_kind kind = ZONE_OTHER;
    bool begun = false;
    int r;

    while (*text != '\0') {
        const char *end = strchrnul(text, '\n');

        if (end - text > 5 && memcmp(text, "Node ", 5) == 0) {
            r = begun ? add_zone(&z, kind, &f, page_size) : 0;
            if (r < 0)
                return r;
            begun = true;
            kind = zone_kind_of(text, end);
            zone = (struct zone){ 0 };
            f.seen = 0;
        } else if (begun) {
            r = parse_field(&f, text, end);
            if (r >= 0)
                r = parse_protection(&zone, text, end);
            if (r < 0)
                return r;
        }
        text = *end == '\n' ? end + 1 : end;
    }
    r = begun ? add_zone(&z, kind, &f, page_size) : -EBADMSG;
    if (r < 0)
        return r;
    if (z.kernel_managed == 0)
        return -EBADMSG;
    *ret = z;
    return 0;
}
