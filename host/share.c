/* SPDX-License-Identifier: MIT */
#include "share.h"

#include "headroom.h"

/* What a guest that is asked for memory keeps above the headroom. Less than the slack of its own shrinks
 * (HEADROOM_SLACK), because the host asks only while another VM lacks memory. */
#define SLACK MIB(352)
/* A Linux memory block: less cannot be offlined. */
#define LEAST MIB(128)

uint64_t share_spare(uint64_t available, uint64_t total, uint64_t requested_size, uint64_t min_size)
{
    uint64_t keep = CLAMP_TO(total / HEADROOM_PART, HEADROOM_MIN, HEADROOM_MAX) + SLACK;
    uint64_t spare = MIN_OF(sub_floor(available, keep), sub_floor(requested_size, min_size));

    return bytes_round_down(spare, LEAST);
}

/* What a claim gets when everybody is raised to level bytes for each unit of weight. */
static uint64_t part_at(const struct share_vm *v, uint64_t level)
{
    uint64_t to;

    if (__builtin_mul_overflow(level, (uint64_t)v->weight, &to))
        to = UINT64_MAX;
    return MIN_OF(sub_floor(to, v->committed), v->claim);
}

/* Whether the parts of all at a level can be paid for. */
static bool can_pay(const struct share_vm *vms, size_t n, bool urgent, uint64_t level, uint64_t spendable)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        if (vms[i].urgent == urgent && bytes_add(sum, part_at(&vms[i], level), &sum) < 0)
            return false;
    return sum <= spendable;
}

/* The highest level that can be paid for. */
static uint64_t find_level(const struct share_vm *vms, size_t n, bool urgent, uint64_t spendable)
{
    uint64_t low = 0, high = UINT64_MAX;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2 + 1;

        if (can_pay(vms, n, urgent, middle, spendable))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Returns what is left of spendable. */
static uint64_t share_kind(
        const struct share_vm *vms, size_t n, bool urgent, uint64_t spendable, uint64_t ret_give[])
{
    uint64_t level = find_level(vms, n, urgent, spendable);

    for (size_t i = 0; i < n; i++)
        if (vms[i].urgent == urgent) {
            ret_give[i] = part_at(&vms[i], level);
            spendable -= ret_give[i];
        }
    /* One more byte of level cannot be paid for everybody: less than a byte for each unit of weight is left.
     */
    for (size_t i = 0; level < UINT64_MAX && i < n; i++)
        if (vms[i].urgent == urgent) {
            uint64_t more = MIN_OF(part_at(&vms[i], level + 1) - ret_give[i], spendable);

            ret_give[i] += more;
            spendable -= more;
        }
    return spendable;
}

void share_out(const struct share_vm *vms, size_t n, uint64_t spendable, uint64_t ret_give[])
{
    spendable = share_kind(vms, n, true, spendable, ret_give);
    (void)share_kind(vms, n, false, spendable, ret_give);
}

static size_t find_most_spare(const struct share_vm *vms, size_t n, const uint64_t ask[])
{
    size_t most = n;

    for (size_t i = 0; i < n; i++)
        if (vms[i].spare > 0 && ask[i] == 0 && (most == n || vms[i].spare > vms[most].spare))
            most = i;
    return most;
}

void share_ask(const struct share_vm *vms, size_t n, uint64_t wanted, uint64_t ret_ask[])
{
    memset(ret_ask, 0, n * sizeof(ret_ask[0]));
    while (wanted > 0) {
        size_t most = find_most_spare(vms, n, ret_ask);

        if (most == n)
            return;
        ret_ask[most] = MIN_OF(vms[most].spare, MAX_OF(wanted, LEAST));
        wanted = sub_floor(wanted, ret_ask[most]);
    }
}
