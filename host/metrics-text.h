/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>

#include "histogram.h"
#include "host-view.h"
#include "vm-view.h"

/* All metrics in Prometheus' text format 0.0.4, made in pieces, so that nobody waits for all of it. Pure.
 *
 * The VMs are those that were there when it was begun, less those that have gone since, each once. The
 * numbers of one VM are of one moment, as are the host's (of the beginning); those of two VMs may be as far
 * apart as the making takes. */
struct metrics_text;

/* So many VMs for each step: some 0.3 ms. */
#define METRICS_STEP 32u

/* False: there is no VM of that name any more. *ret is used until the next call. */
typedef bool (*metrics_find_t)(const char *name, struct vm_view *ret, void *userdata);

/* names: of the VMs, taken over. */
struct metrics_text *metrics_text_begin(
        const struct host_view *host, const struct histogram *grants, char **names);
/* True: it is whole. */
bool metrics_text_step(struct metrics_text *t, metrics_find_t find, void *userdata);
struct metrics_text *metrics_text_free(struct metrics_text *t);

/* The text is its parts, one after the other: a metric's lines have to stand together, while the VMs come one
 * by one. */
unsigned metrics_text_parts(const struct metrics_text *t);
const GString *metrics_text_part(const struct metrics_text *t, unsigned i);

/* Reads "127.0.0.1:9811" or "[::1]:9811" into *ret (struct sockaddr_storage). -EINVAL. *ret_local: nobody but
 * this machine reaches it. */
struct sockaddr_storage;
int metrics_parse_address(const char *text, struct sockaddr_storage *ret, bool *ret_local);
