/* SPDX-License-Identifier: MIT */
#include "news.h"

bool news_take(struct news *n, uint64_t now)
{
    if (now >= n->next && n->held == 0) {
        n->next = now + NEWS_USEC;
        return true;
    }
    if (n->held < UINT32_MAX)
        n->held++;
    return false;
}

bool news_due(struct news *n, uint64_t now, uint32_t *ret_more)
{
    if (n->held == 0 || now < n->next)
        return false;
    *ret_more = n->held - 1;
    n->held = 0;
    n->next = now + NEWS_USEC;
    return true;
}

uint64_t news_deadline(const struct news *n)
{
    return n->held > 0 ? n->next : USEC_FOREVER;
}

void news_drop(struct news *n)
{
    n->held = 0;
}
