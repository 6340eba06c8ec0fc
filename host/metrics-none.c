/* SPDX-License-Identifier: MIT */
/* A build without libmicrohttpd: host-config.c refuses Listen=. */
#include "metrics.h"

int metrics_new(sd_event *event, struct host *h, struct metrics **ret)
{
    *ret = NULL;
    return 0;
}

struct metrics *metrics_free(struct metrics *m)
{
    return NULL;
}

int metrics_listen(struct metrics *m, const char *address, char **ret_error)
{
    return 0;
}
