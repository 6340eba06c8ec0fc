/* SPDX-License-Identifier: MIT */
#include "kernel-plan.h"

#define ZONE_LINE_START "Node "
#define LINE_MAX_SIZE 64u
/* 256 TiB in one zone, so that no sum over the zones of PROCFILE_MAX bytes of text overflows. */
#define ZONE_SIZE_MAX (UINT64_C(1) << 48)
/* A smaller zone (x86-64's DMA has 15 MiB) is for devices; the kernel's own default protects it. */
#define ZONE_MIN MIB(64)

struct node {
    size_t n;
    bool complete; /* the last zone's "managed" was read */
    uint64_t managed[KERNEL_ZONES_MAX];
};

/* sscanf() reads the whole rest of its text, and a blank in its format matches a line feed. */
static void copy_line(const char *line, const char *end, char ret[static LINE_MAX_SIZE])
{
    size_t len = MIN_OF((size_t)(end - line), LINE_MAX_SIZE - 1);

    memcpy(ret, line, len);
    ret[len] = '\0';
}

static const char *last_word(const char *line, const char *end)
{
    const char *word = end;

    while (word > line && word[-1] != ' ')
        word--;
    return word;
}

static bool word_is(const char *word, const char *end, const char *name)
{
    return (size_t)(end - word) == strlen(name) && memcmp(word, name, strlen(name)) == 0;
}

/* "Node 0, zone    DMA32" */
static void name_zone(const char *line, const char *end, struct kernel_zone *zone)
{
    const char *word = last_word(line, end);

    zone->kernel = word_is(word, end, "DMA") || word_is(word, end, "DMA32") || word_is(word, end, "Normal");
    zone->movable = word_is(word, end, "Movable");
}

/* "        managed  3840" */
static int read_managed(struct node *node, const char *line, const char *end, uint64_t page_size)
{
    char text[LINE_MAX_SIZE];
    unsigned long long pages;
    uint64_t size;

    while (line < end && *line == ' ')
        line++;
    if (line == end || *line != 'm')
        return 0;
    copy_line(line, end, text);
    if (sscanf(text, "managed %llu", &pages) != 1)
        return 0;
    if (node->n == 0 || node->complete)
        return -EBADMSG;
    if (bytes_mul(pages, page_size, &size) < 0 || size > ZONE_SIZE_MAX)
        return -ERANGE;
    node->managed[node->n - 1] = size;
    node->complete = true;
    return 0;
}

/* The kernel calculates a zone's reserve on each node by itself, from the zones above on the same node. */
static int add_node(struct kernel_zones *z, const struct node *node)
{
    uint64_t kernel = 0, movable = 0;

    if (!node->complete || (z->n > 0 && z->n != node->n))
        return -EBADMSG;
    z->n = node->n;
    for (size_t i = node->n; i-- > 0;) {
        struct kernel_zone *zone = &z->zones[i];

        if (node->managed[i] == 0)
            continue;
        zone->managed += node->managed[i];
        zone->kernel_above += kernel;
        zone->movable_above += movable;
        kernel += zone->kernel ? node->managed[i] : 0;
        movable += zone->movable ? node->managed[i] : 0;
    }
    return 0;
}

/* The first zone of a node follows the last zone of the node before, which has the same name or a later one:
 * the node's number tells them apart. */
static int begin_zone(
        struct kernel_zones *z, struct node *node, unsigned *number, const char *line, const char *end)
{
    char text[LINE_MAX_SIZE];
    unsigned now;
    int r;

    copy_line(line, end, text);
    if (sscanf(text, ZONE_LINE_START "%u, zone", &now) != 1)
        return -EBADMSG;
    if (node->n > 0 && now != *number) {
        r = add_node(z, node);
        if (r < 0)
            return r;
        *node = (struct node){ 0 };
    }
    if ((node->n > 0 && !node->complete) || node->n == KERNEL_ZONES_MAX)
        return -EBADMSG;
    *number = now;
    name_zone(line, end, &z->zones[node->n]);
    node->n++;
    node->complete = false;
    return 0;
}

int kernel_zones_parse(const char *text, uint64_t page_size, struct kernel_zones *ret)
{
    struct kernel_zones z = { 0 };
    struct node node = { 0 };
    unsigned number = 0;
    int r = 0;

    for (const char *line = text; *line != '\0' && r >= 0;) {
        const char *end = strchrnul(line, '\n');

        if (strncmp(line, ZONE_LINE_START, strlen(ZONE_LINE_START)) == 0)
            r = begin_zone(&z, &node, &number, line, end);
        else
            r = read_managed(&node, line, end, page_size);
        line = *end == '\n' ? end + 1 : end;
    }
    if (r >= 0)
        r = add_node(&z, &node);
    if (r < 0)
        return r;
    *ret = z;
    return 0;
}

static uint64_t zone_reserve(const struct kernel_zone *zone, uint32_t ratio)
{
    return ratio == 0 ? 0 : MIN_OF((zone->kernel_above + zone->movable_above) / ratio, zone->managed);
}

uint64_t kernel_plan_reserve(const struct kernel_zones *z, const uint32_t *ratios)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < z->n; i++)
        if (z->zones[i].kernel)
            sum += zone_reserve(&z->zones[i], ratios[i]);
    return sum;
}

/* The ratio also keeps kernel allocations, which prefer the highest kernel zone, out of a part
 * kernel_above / ratio of this zone. Where the kernel zones above are large, that would take more from the
 * kernel than it keeps for it, and the kernel has memory enough there. */
static bool may_reserve(const struct kernel_zone *zone)
{
    return zone->kernel && zone->managed >= ZONE_MIN && zone->movable_above > 0 &&
           zone->kernel_above < zone->managed && zone->kernel_above <= zone->movable_above;
}

/* Ratios are whole numbers, and the low ones are far apart: when 1 reserves 384 MiB, 2 reserves 192 MiB. The
 * nearer one is chosen, since user programs lose what is reserved, but at least three quarters of the part.
 */
static uint32_t choose_ratio(const struct kernel_zone *zone, uint64_t part, uint32_t admin)
{
    uint64_t above = zone->kernel_above + zone->movable_above, ratio = MAX_OF(above / part, 1);
    uint64_t more = above / ratio, less = above / (ratio + 1);

    if (less >= part - part / 4 && sub_floor(part, less) < sub_floor(more, part))
        ratio++;
    if (admin > 0)
        ratio = MIN_OF(ratio, admin);
    return (uint32_t)MIN_OF(ratio, INT32_MAX);
}

void kernel_plan_ratios(
        const struct kernel_zones *z, uint64_t wanted, const uint32_t *admin, uint32_t *ret_ratios)
{
    uint64_t left = wanted;

    memcpy(ret_ratios, admin, z->n * sizeof(*admin));
    /* The highest kernel zone first: it is the first choice of GFP_KERNEL allocations. At most half of each,
     * so that user programs keep the other half. */
    for (size_t i = z->n; i-- > 0 && left > 0;) {
        const struct kernel_zone *zone = &z->zones[i];
        uint64_t part = MIN_OF(left, zone->managed / 2);

        if (!may_reserve(zone))
            continue;
        ret_ratios[i] = choose_ratio(zone, part, admin[i]);
        /* choose_ratio() accepts a quarter less than the part; other zones do not make up for it. */
        left = sub_floor(left, MAX_OF(part, zone_reserve(zone, ret_ratios[i])));
    }
}

bool kernel_plan_differs(uint64_t present, uint64_t planned)
{
    return MAX_OF(present, planned) - MIN_OF(present, planned) > present / 8;
}

uint32_t kernel_plan_overcommit(bool host, uint64_t size, uint64_t max, uint32_t admin)
{
    return admin == 0 && host && size < max ? 1 : admin;
}
