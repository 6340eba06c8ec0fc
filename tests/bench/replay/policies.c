/* SPDX-License-Identifier: MIT */
#include "policies.h"

const char *const policy_names[] = {
    [POLICY_VMTIDE] = "vmtide",
    [POLICY_FIXED] = "fixed",
    [POLICY_HYPERALLOC] = "hyperalloc-rule",
    [POLICY_PROXMOX] = "proxmox",
    [POLICY_MOM] = "mom",
    [POLICY_BALANCER] = "balancer",
    [POLICY_NEON] = "neon",
    [_POLICY_MAX] = NULL,
};

static uint64_t guest_size(const struct model *m)
{
    return m->options.boot + m->size;
}

/* Returns the device size of a guest of this many bytes, in memory blocks up to the max size. */
static uint64_t device_part(const struct model *m, uint64_t bytes)
{
    uint64_t size = MIN_OF(sub_floor(bytes, m->options.boot), m->options.max);

    if (size < m->options.max)
        (void)bytes_round_up(size, MODEL_MEMORY_BLOCK, &size);
    return MIN_OF(size, m->options.max);
}

static uint64_t stepped(const struct model *m, uint64_t up, uint64_t down)
{
    return device_part(m, sub_floor(guest_size(m) + up, down));
}

/* luhsra/hyperalloc-bench compares free memory with a sixteenth of the guest every 1.7 s. */
static uint64_t hyperalloc(const struct model *m)
{
    uint64_t step = (m->options.boot + m->options.max) / 16, free_now = model_free(m) / 10 * 9;

    if (free_now < step / 2)
        return stepped(m, 2 * step, 0);
    if (free_now < step)
        return stepped(m, step, 0);
    return free_now > 2 * step ? stepped(m, 0, step) : m->size;
}

/* Proxmox's pvestatd resizes by the free part of the guest, by at most 100 MB at a time. */
static uint64_t proxmox(const struct model *m)
{
    uint64_t percent = model_free(m) * 100 / MAX_OF(m->total, 1);

    if (percent < 20)
        return stepped(m, 100000000, 0);
    return percent > 25 ? stepped(m, 0, MIN_OF(100000000, model_free(m))) : m->size;
}

/* oVirt's memory overcommitment manager (balloon.rules) resizes by 5 % of the guest at a time. */
static uint64_t mom(const struct model *m)
{
    uint64_t percent = model_available(m) * 100 / MAX_OF(m->total, 1);

    if (percent < 20)
        return stepped(m, guest_size(m) / 20, 0);
    return percent > 22 ? stepped(m, 0, guest_size(m) / 20) : m->size;
}

/* Balancers that use libvirt's "unused". */
static uint64_t balancer(const struct model *m)
{
    uint64_t percent = model_free(m) * 100 / MAX_OF(m->total, 1);

    if (percent < 15)
        return stepped(m, MIB(512), 0);
    return percent > 40 ? stepped(m, 0, MIB(512)) : m->size;
}

/* Neon's autoscaler sets the size so that three quarters of it are used, without page cache. */
static uint64_t neon(const struct model *m)
{
    uint64_t used = sub_floor(m->total, model_available(m)), goal = device_part(m, used / 3 * 4);

    if (used > m->total / 100 * 85)
        return MAX_OF(goal, m->size);
    return goal < m->size ? goal : m->size;
}

uint64_t policy_wants(enum policy p, const struct model *m, uint64_t *ret_wait)
{
    static const struct {
        uint64_t (*wants)(const struct model *m);
        uint64_t period;
    } rules[_POLICY_MAX] = {
        [POLICY_HYPERALLOC] = { hyperalloc, 1700 * USEC_PER_MSEC },
        [POLICY_PROXMOX] = { proxmox, 10 * USEC_PER_SEC },
        [POLICY_MOM] = { mom, 10 * USEC_PER_SEC },
        [POLICY_BALANCER] = { balancer, 15 * USEC_PER_SEC },
        [POLICY_NEON] = { neon, 5 * USEC_PER_SEC },
    };

    *ret_wait = rules[p].period > 0 ? rules[p].period : USEC_PER_SEC;
    return rules[p].wants ? rules[p].wants(m) : m->options.max;
}
