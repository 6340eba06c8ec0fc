/* SPDX-License-Identifier: MIT */
#include "metrics-pace.h"

/* Of 13 parts of the time one is the metrics'. Not less than REST_MIN_USEC: the loop's own work for a turn
 * is not in what the turn says it took. */
#define REST_PARTS 12u
#define REST_MIN_USEC USEC_PER_MSEC
#define REST_MAX_USEC USEC_PER_SEC

uint64_t metrics_rest(uint64_t spent)
{
    if (spent >= REST_MAX_USEC / REST_PARTS)
        return REST_MAX_USEC;
    return MAX_OF(spent * REST_PARTS, REST_MIN_USEC);
}

/* Who has not asked comes before who has, the older before the younger. */
static bool leaves_before(const struct metrics_place *a, const struct metrics_place *b)
{
    return a->asked != b->asked ? !a->asked : a->begun < b->begun;
}

int metrics_place_choose(const struct metrics_place places[static METRICS_PLACES], uint64_t now)
{
    unsigned first = 0;

    for (unsigned i = 0; i < METRICS_PLACES; i++) {
        if (!places[i].taken)
            return (int)i;
        if (leaves_before(&places[i], &places[first]))
            first = i;
    }
    if (places[first].asked && now < places[first].begun + METRICS_KEEP_USEC)
        return -EBUSY;
    return (int)first;
}

bool metrics_place_is_over(const struct metrics_place *p, uint64_t number, uint64_t now)
{
    return p->taken &&
           (now >= p->begun + METRICS_REQUEST_USEC || (p->text > 0 && p->text + METRICS_TEXTS <= number));
}

uint64_t metrics_place_deadline(const struct metrics_place places[static METRICS_PLACES])
{
    uint64_t first = USEC_FOREVER;

    for (unsigned i = 0; i < METRICS_PLACES; i++)
        if (places[i].taken && !places[i].cut)
            first = MIN_OF(first, places[i].begun + METRICS_REQUEST_USEC);
    return first;
}
