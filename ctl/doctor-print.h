/* SPDX-License-Identifier: MIT */
#pragma once

#include <jansson.h>

#include "doctor-judge.h"
#include "draw.h"

/* A check as a line, with its remedy under it; and as an object. */
void doctor_print_check(GString *out, const struct draw_style *s, const struct doctor_check *c);
json_t *doctor_check_json(const struct doctor_check *c);
