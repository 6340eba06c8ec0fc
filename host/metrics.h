/* SPDX-License-Identifier: MIT */
#pragma once

#include "host.h"

/* The metrics over HTTP, GET /metrics, in the daemon's own loop. */
struct metrics;

int metrics_new(sd_event *event, struct host *h, struct metrics **ret);
struct metrics *metrics_free(struct metrics *m);

/* Listens there ("127.0.0.1:9811"), or nowhere (NULL or empty). Negative with *ret_error (g_free): where it
 * listened before it listens still. */
int metrics_listen(struct metrics *m, const char *address, char **ret_error);
