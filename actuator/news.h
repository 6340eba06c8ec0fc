/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* What the host says and everybody is told, but not more often than once a second, pure: the first at once,
 * of those that follow the last one when the second is over. */
#define NEWS_USEC USEC_PER_SEC

struct news {
    uint64_t next; /* µs; not before */
    uint32_t held; /* came since the last one that was told */
};

/* One has come. True: it is to be told now. */
bool news_take(struct news *n, uint64_t now);
/* True: the last one that was held is to be told now; *ret_more came before it and are not. */
bool news_due(struct news *n, uint64_t now, uint32_t *ret_more);
/* When one that is held will be due; USEC_FOREVER: none is. */
uint64_t news_deadline(const struct news *n);
/* What is held is not to be told any more. */
void news_drop(struct news *n);
