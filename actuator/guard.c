/* SPDX-License-Identifier: MIT */
#include "guard.h"

#include <ctype.h>

/* A line is rounded up to this: finer is noise. */
#define LINE_GRAIN MIB(1)
/* What a slice that is quiet may take before it is looked at. */
#define SLACK MIB(8)

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

/* How far all slices may grow together before the kernel zones run short. Half of the cache in them is taken
 * for what they can have back. */
static uint64_t kernel_room(const struct guard_sample *s)
{
    uint64_t spare;

    if (!s->have_zones)
        return UINT64_MAX;
    spare = sub_floor(s->kernel_free + s->kernel_file / 2, s->kernel_low + GUARD_KERNEL_HEADROOM);
    return bytes_mul(spare, GUARD_KERNEL_SHARE, &spare) < 0 ? UINT64_MAX : spare;
}

static bool any_breached(const struct guard_sample *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->slices[i].breached)
            return true;
    return false;
}

/* Page cache counts as room only while far more is available than could be taken before the next look. Then
 * the kernel's own reclaim does for a stream what it would do without us; the line cannot hold then, since
 * dropped cache makes room in it, so somebody has to look. */
static enum guard_mode choose_mode(const struct guard_sample *s, uint64_t headroom)
{
    uint64_t spare = MIN_OF(sub_floor(s->available, headroom), kernel_room(s));

    if (!any_breached(s))
        return GUARD_OPEN;
    if (spare < reach(s))
        return GUARD_HOLDING;
    return sub_floor(s->free, headroom) < reach(s) ? GUARD_LIFTED : GUARD_OPEN;
}

/* In thousandths: one part whatever it uses, three by what it uses, and four times that for who needs it now.
 */
static uint64_t weight(const struct guard_sample *s, size_t i)
{
    uint64_t sum = 0, own;

    for (size_t k = 0; k < s->n; k++)
        sum += s->slices[k].usage >> 10;
    own = 1000 + (sum > 0 ? 3000 * (s->slices[i].usage >> 10) / sum : 0);
    return s->slices[i].breached ? 4 * own : own;
}

static uint64_t share_of(uint64_t grow, uint64_t part, uint64_t whole)
{
    /* whole is at most GUARD_SLICES_MAX x 16000. */
    return grow / whole * part + grow % whole * part / whole;
}

/* What a slice has to give back of its clean cache now: its part of what is missing of the headroom, and no
 * more than a 20th of it, since an allocation waits by the square of how far its slice is above the line. */
static uint64_t give_back(const struct guard_sample *s, size_t i, uint64_t missing)
{
    uint64_t clean = 0, part;

    for (size_t k = 0; k < s->n; k++)
        clean += s->slices[k].clean;
    if (clean == 0)
        return 0;
    part = bytes_share(MIN_OF(missing, clean),
            (uint32_t)((s->slices[i].clean >> 10) * PERMYRIAD_ONE / MAX_OF(clean >> 10, 1)));
    return MIN_OF(MIN_OF(part, s->slices[i].clean), s->slices[i].usage / 20);
}

static uint64_t round_line(uint64_t line)
{
    return bytes_round_up(line, LINE_GRAIN, &line) < 0 ? GUARD_NO_LINE : line;
}

/* Nothing to grow into: a line that the slice has overrun stays where it is, else each look would make the
 * overrun good, and the slices that are quiet keep their slack. */
static uint64_t holding_line(const struct guard_sample *s, size_t i, uint64_t missing)
{
    const struct guard_slice_sample *slice = &s->slices[i];
    uint64_t line = slice->breached ? slice->usage - give_back(s, i, missing) : slice->usage + SLACK;

    return MIN_OF(MIN_OF(round_line(line), slice->line), slice->limit);
}

static uint64_t line_of(const struct guard_sample *s, size_t i, const struct guard_plan *p)
{
    const struct guard_slice_sample *slice = &s->slices[i];
    uint64_t whole = 0, line;

    if (p->mode == GUARD_HOLDING && p->grow == 0)
        return holding_line(s, i, sub_floor(p->headroom, s->free));
    for (size_t k = 0; k < s->n; k++)
        whole += weight(s, k);
    line = slice->usage + share_of(p->grow, weight(s, i), whole);
    if (!slice->breached)
        line += SLACK;
    return MIN_OF(round_line(line), slice->limit);
}

static bool far_enough(const struct guard_slice_sample *slice, uint64_t line, enum guard_mode mode)
{
    if (slice->line == GUARD_NO_LINE || slice->line > slice->limit)
        return line != slice->line;
    if (line > slice->line)
        return line - slice->line >= (slice->breached ? RAISE_BREACHED : MAX_OF(RAISE_MIN, slice->line / 64));
    if (mode == GUARD_HOLDING)
        return line < slice->line;
    return slice->line - line >= MAX_OF(LOWER_MIN, slice->line / 32);
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

    p.mode = choose_mode(s, p.headroom);
    p.grow = sub_floor(p.mode == GUARD_LIFTED ? s->available : s->free, p.headroom);
    p.grow = MIN_OF(p.grow, kernel_room(s));
    for (size_t i = 0; i < s->n; i++) {
        p.lines[i] = line_of(s, i, &p);
        p.write[i] = far_enough(&s->slices[i], p.lines[i], p.mode);
    }
    p.look_usec = look_again(s, &p);
    *ret = p;
}

bool guard_slice_name_is_valid(const char *name)
{
    const char *dot = strchr(name, '.');

    if (!dot || dot == name || !streq(dot, ".slice") || strlen(name) > GUARD_NAME_MAX)
        return false;
    for (const char *p = name; p < dot; p++)
        if (!isascii((unsigned char)*p) || (!isalnum((unsigned char)*p) && *p != '_'))
            return false;
    return !streq(name, "vmtide.slice");
}

const char *guard_mode_to_string(enum guard_mode mode)
{
    static const char *const names[_GUARD_MODE_MAX] = { "open", "lifted", "holding" };

    return mode >= 0 && mode < _GUARD_MODE_MAX ? names[mode] : NULL;
}
