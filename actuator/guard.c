/* SPDX-License-Identifier: MIT */
#include "guard.h"

/* A line is rounded up to this: finer is noise. */
#define LINE_GRAIN MIB(1)
/* What a quiet cgroup may take before its crossing is an event. While another one grows, all quiet ones
 * together keep a quarter of the room at most. A line of less than 64 MiB is crossed by far with the first
 * huge page: 2 MiB above 32 MiB make a task sleep for 2 s, above 64 MiB for half a second. */
#define SLACK_MIN MIB(8)
#define SLACK_MAX MIB(64)
#define SLACK_PART 4u
#define LINE_MIN MIB(64)
/* Growth between two looks that makes a cgroup a growing one. */
#define GROWTH_MIN MIB(4)
/* Tasks count as held when the line leaves them less than this. */
#define HELD_ROOM MIB(4)

/* Raised at once where it is wanted, else when it pays; lowered lazily. */
#define RAISE_BREACHED MIB(1)
#define RAISE_MIN MIB(4)
#define LOWER_MIN MIB(16)

/* Measured overrun past a line, nobody giving way: 300 MB line 6 MB (1 thread) to 73 MB (32), 3,000 MB line
 * 42 to 348 MB: under 2 % of the line and 0.3 % more for each thread. The rest of the smallest headroom that
 * survived is what the kernel needs itself. */
#define OVERRUN_BASE 200u
#define OVERRUN_CPU 30u
#define OVERRUN_CPUS_MAX 32u
#define KERNEL_OWN MIB(128)

uint64_t guard_headroom(uint64_t asked, uint64_t total, uint32_t cpus)
{
    uint32_t share = OVERRUN_BASE + OVERRUN_CPU * MIN_OF(cpus, OVERRUN_CPUS_MAX);
    uint64_t grown = KERNEL_OWN + bytes_share(total, share), base = MAX_OF(asked, GUARD_HEADROOM_MIN);

    /* In steps, so that it is no news at every block that is plugged. */
    return CLAMP_TO(bytes_round_down(grown, MIB(16)), base, base + base / 3);
}

/* What could be gone between two looks, and what is held back for it. */
static uint64_t reach(const struct guard_sample *s)
{
    uint64_t most = MIB(64) + (uint64_t)s->cpus * (GUARD_CPU_RATE / (USEC_PER_SEC / GUARD_LOOK_MIN_USEC));

    return MIN_OF(most, s->total / 8);
}

/* Without zoneinfo: free memory alone. */
static uint64_t free_room(const struct guard_sample *s, uint64_t headroom)
{
    return s->have_zones ? room_to_grow(&s->zones, headroom) : sub_floor(s->free, headroom);
}

/* The same with clean page cache, which the kernel drops for an allocation. Half of the cache in the kernel
 * zones counts there. */
static uint64_t cache_room(const struct guard_sample *s, uint64_t headroom)
{
    uint64_t kernel = s->have_zones
                              ? sub_floor(s->zones.kernel_room + s->zones.kernel_file / 2, ROOM_KERNEL_MIN)
                              : UINT64_MAX;

    return MIN_OF(sub_floor(s->available, headroom), kernel);
}

static bool any_breached(const struct guard_sample *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->cgroups[i].breached)
            return true;
    return false;
}

/* Page cache counts as room only while far more is available than could be taken before the next look. Then
 * the kernel's own reclaim does for a stream what it would do without us; the line cannot hold then, since
 * dropped cache makes room in it, so somebody has to look. */
static enum guard_mode choose_mode(const struct guard_sample *s, uint64_t headroom)
{
    uint64_t room = free_room(s, headroom);

    if (!any_breached(s) || room >= reach(s))
        return GUARD_OPEN;
    return cache_room(s, headroom) < reach(s) ? GUARD_HOLDING : GUARD_LIFTED;
}

static bool is_growing(const struct guard_cgroup_sample *cgroup)
{
    return cgroup->breached || cgroup->grown >= GROWTH_MIN;
}

static size_t count_growing(const struct guard_sample *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        n += is_growing(&s->cgroups[i]);
    return n;
}

/* In thousandths: one part whatever it uses, and three by what it uses. An empty cgroup has no share. */
static uint64_t weight(const struct guard_sample *s, size_t i)
{
    uint64_t sum = 0;

    if (s->cgroups[i].usage == 0)
        return 0;
    for (size_t k = 0; k < s->n; k++)
        sum += s->cgroups[k].usage >> 10;
    return 1000 + (sum > 0 ? 3000 * (s->cgroups[i].usage >> 10) / sum : 0);
}

static uint64_t share_of(uint64_t grow, uint64_t part, uint64_t whole)
{
    /* whole is at most GUARD_CGROUPS_MAX x 4000. */
    return whole == 0 ? 0 : grow / whole * part + grow % whole * part / whole;
}

/* What a cgroup has to give back of its clean cache now: its part of what is missing of the headroom, and no
 * more than a 20th of it, since an allocation waits by the square of how far its cgroup is above the line. */
static uint64_t give_back(const struct guard_sample *s, size_t i, uint64_t missing)
{
    uint64_t clean = 0, part;

    for (size_t k = 0; k < s->n; k++)
        clean += s->cgroups[k].clean;
    if (clean == 0)
        return 0;
    part = bytes_share(MIN_OF(missing, clean),
            (uint32_t)((s->cgroups[i].clean >> 10) * PERMYRIAD_ONE / MAX_OF(clean >> 10, 1)));
    return MIN_OF(MIN_OF(part, s->cgroups[i].clean), s->cgroups[i].usage / 20);
}

static uint64_t round_line(uint64_t line)
{
    return bytes_round_up(line, LINE_GRAIN, &line) < 0 ? GUARD_NO_LINE : line;
}

/* Nothing to grow into: a line that the cgroup has overrun stays where it is, else each look would make the
 * overrun good, and the cgroups that are quiet keep their slack. */
static uint64_t holding_line(const struct guard_sample *s, size_t i, uint64_t missing)
{
    const struct guard_cgroup_sample *cgroup = &s->cgroups[i];
    uint64_t line = cgroup->breached ? cgroup->usage - give_back(s, i, missing) : cgroup->usage + SLACK_MIN;

    return MIN_OF(MIN_OF(round_line(line), cgroup->line), cgroup->limit);
}

/* The room goes to the cgroups that grow; the quiet ones keep a little. While none grows all share it, as any
 * may begin. */
static uint64_t share(const struct guard_sample *s, size_t i, uint64_t grow, bool holding)
{
    size_t growing = count_growing(s);
    uint64_t slack = CLAMP_TO(grow / SLACK_PART / s->n, holding ? LINE_GRAIN : SLACK_MIN, SLACK_MAX),
             whole = 0;

    if (growing > 0 && !is_growing(&s->cgroups[i]))
        return slack;
    if (growing > 0)
        grow = sub_floor(grow, slack * (s->n - growing));
    for (size_t k = 0; k < s->n; k++)
        if (growing == 0 || is_growing(&s->cgroups[k]))
            whole += weight(s, k);
    return share_of(grow, weight(s, i), whole) + (growing > 0 ? 0 : SLACK_MIN);
}

static uint64_t line_of(const struct guard_sample *s, size_t i, const struct guard_plan *p)
{
    const struct guard_cgroup_sample *cgroup = &s->cgroups[i];
    uint64_t line;

    if (p->mode == GUARD_HOLDING && p->grow == 0)
        return holding_line(s, i, sub_floor(p->headroom, s->free));
    line = cgroup->usage + share(s, i, p->grow, p->mode == GUARD_HOLDING);
    if (p->mode != GUARD_HOLDING)
        line = MAX_OF(line, LINE_MIN);
    return MIN_OF(round_line(line), cgroup->limit);
}

/* Is it at its line, and is that line ours? */
static bool is_held(const struct guard_cgroup_sample *cgroup, uint64_t line, enum guard_mode mode)
{
    return mode == GUARD_HOLDING && cgroup->breached && line < cgroup->limit &&
           line < cgroup->usage + HELD_ROOM;
}

static bool far_enough(const struct guard_cgroup_sample *cgroup, uint64_t line, enum guard_mode mode)
{
    if (cgroup->line == GUARD_NO_LINE || cgroup->line > cgroup->limit)
        return line != cgroup->line;
    if (line > cgroup->line)
        return line - cgroup->line >=
               (cgroup->breached ? RAISE_BREACHED : MAX_OF(RAISE_MIN, cgroup->line / 64));
    if (mode == GUARD_HOLDING)
        return line < cgroup->line;
    return cgroup->line - line >= MAX_OF(LOWER_MIN, cgroup->line / 32);
}

/* What is available above what is held back, over the fastest that it could go. */
static uint64_t look_again(const struct guard_sample *s, const struct guard_plan *p)
{
    uint64_t rate = MAX_OF(s->cpus, 1) * GUARD_CPU_RATE, spare = sub_floor(s->available, p->headroom);

    if (!any_breached(s))
        return USEC_FOREVER;
    spare = sub_floor(spare, reach(s) / 2) / (rate / USEC_PER_SEC);
    return CLAMP_TO(spare, GUARD_LOOK_MIN_USEC, GUARD_LOOK_MAX_USEC);
}

void guard_plan(const struct guard_sample *s, struct guard_plan *ret)
{
    struct guard_plan p = { .headroom = guard_headroom(s->headroom, s->total, s->cpus) };
    uint64_t keep = p.headroom + s->leaving;

    p.mode = choose_mode(s, keep);
    p.grow = p.mode == GUARD_LIFTED ? cache_room(s, keep) : free_room(s, keep);
    for (size_t i = 0; i < s->n; i++) {
        p.lines[i] = line_of(s, i, &p);
        p.write[i] = far_enough(&s->cgroups[i], p.lines[i], p.mode);
        p.held[i] = is_held(&s->cgroups[i], p.lines[i], p.mode);
        p.any_held |= p.held[i];
    }
    p.look_usec = look_again(s, &p);
    *ret = p;
}

bool guard_cgroup_name_is_valid(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && strlen(name) <= GUARD_NAME_MAX && !strchr(name, '/');
}

const char *guard_mode_to_string(enum guard_mode mode)
{
    static const char *const names[_GUARD_MODE_MAX] = { "open", "lifted", "holding" };

    return mode >= 0 && mode < _GUARD_MODE_MAX ? names[mode] : NULL;
}
