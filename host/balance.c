/* SPDX-License-Identifier: MIT */
#include "balance.h"

#include <glib.h>

#include "bytes.h"

/* A host that stalls this much of its time (some, of 10 s) wants memory back; that much, and only a VM that
 * is short grows. Swap or page cache of the host's own thrashes by then. */
#define PRESSURE_ASK 1000u
#define PRESSURE_REFUSE 2000u
/* Who grows asks again while memory is on its way: so many times what is missing now is asked back. (With
 * just that a guest that took 150 MiB/s was killed, while another had 2 GiB to spare.) */
#define MISSING_FACTOR 2u
/* What it wants at a time: enough to see whether it helps. */
#define PRESSURE_PARTS 32u

uint64_t balance_held(const struct balance_host *host, const struct share_vm *vms, size_t n, size_t i)
{
    uint64_t spendable = grant_spendable(&host->numbers), others = 0;
    g_autofree uint64_t *give = NULL;

    if (host->have_pressure && host->pressure10 >= PRESSURE_REFUSE && !vms[i].urgent)
        return spendable;
    for (size_t k = 0; k < n; k++)
        if (k != i)
            others = bytes_add_up(others, vms[k].claim);
    if (others == 0 || vms[i].claim <= sub_floor(spendable, others))
        return 0;
    give = g_new(uint64_t, n);
    share_out(vms, n, spendable, give);
    return spendable - give[i];
}

uint64_t balance_wanted(const struct balance_host *host, const struct share_vm *vms, size_t n)
{
    const struct grant_host *h = &host->numbers;
    uint64_t claims = 0, coming = 0, wanted;

    if (!h->known)
        return 0;
    for (size_t i = 0; i < n; i++) {
        claims = bytes_add_up(claims, vms[i].claim);
        coming = bytes_add_up(coming, vms[i].coming);
    }
    wanted = sub_floor(claims, grant_spendable(h));
    wanted = wanted > UINT64_MAX / MISSING_FACTOR ? UINT64_MAX : wanted * MISSING_FACTOR;
    wanted = MAX_OF(wanted, sub_floor(h->reserve, h->available));
    if (host->have_pressure && host->pressure10 >= PRESSURE_ASK)
        wanted = MAX_OF(wanted, host->total / PRESSURE_PARTS);
    return sub_floor(wanted, coming);
}
