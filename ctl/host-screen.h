/* SPDX-License-Identifier: MIT */
#pragma once

#include <jansson.h>

#include "draw.h"
#include "screen.h"

/* What host list, watch and show print. Pure. root: as client_read_host() gives it. */

void host_screen_list(
        GString *out, const struct draw_style *s, const json_t *root, const struct screen_clock *now);

/* One VM, as it stands in "VMs". */
void host_screen_vm(
        GString *out, const struct draw_style *s, const json_t *vm, const struct screen_clock *now);

/* The VM of that name, NULL: there is none. */
json_t *host_screen_find(const json_t *root, const char *name);
