/* SPDX-License-Identifier: MIT */
/* Models the guard with one memory.high line for all cgroups of the guest together. */
#include "guard.h"
#include "model.h"
#include "room.h"

/* The guard computes its lines at this interval while memory use changes. */
#define PLAN_USEC (20 * USEC_PER_MSEC)
/* After the line rises, released tasks touch memory at this rate in addition to the recorded growth. */
#define RELEASE_RATE GIB(2)

/* The number of processors, from which the guard derives what it keeps free beyond the monitor's headroom. */
#define CPUS 4u

/* Memory that is being unplugged, or will be after the host's reply, is no room. */
static uint64_t leaving(const struct model *m)
{
    return sub_floor(m->size, m->requested);
}

/* At its line a cgroup reclaims its own page cache before its tasks wait, so cold cache counts as room. */
static void plan_line(struct model *m)
{
    struct zoneinfo z;

    uint64_t keep = guard_headroom(m->guard_headroom, m->total, CPUS) + leaving(m);

    model_zones(m, &z);
    m->line = m->used + room_to_grow(&z, keep) + model_cold_cache(m);
    m->next_plan = m->now + PLAN_USEC;
}

static uint64_t in_time(uint64_t rate, uint64_t usec)
{
    return (uint64_t)((unsigned __int128)rate * usec / USEC_PER_SEC);
}

/* When demand reaches the line, the guard computes the line again at once: only demand without room in the
 * guest waits. */
void model_take_demand(struct model *m, uint64_t usec, uint64_t wanted)
{
    uint64_t grown = sub_floor(wanted, m->wanted);
    uint64_t next = MIN_OF(wanted, m->used + grown + in_time(RELEASE_RATE, usec));

    m->wanted = wanted;
    m->at_line = false;
    if (m->guard_headroom == 0) {
        m->used = next;
        return;
    }
    if (m->now >= m->next_plan)
        plan_line(m);
    if (next > m->line) {
        m->crossed = true;
        plan_line(m);
    }
    m->at_line = next > MAX_OF(m->line, m->used);
    m->used = MIN_OF(next, MAX_OF(m->line, m->used));
    if (m->at_line)
        m->stall += usec;
}

uint64_t model_held(const struct model *m)
{
    return sub_floor(m->wanted, m->used);
}
