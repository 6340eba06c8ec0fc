/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-bus.h>

#include "doctor-judge.h"

/* Gathers the facts, at most a few seconds long, and changes nothing. root: where the machine's files are,
 * NULL: / (only there a trigger is tried). bus: NULL when it could not be reached. */
void doctor_probe(const char *root, sd_bus *bus, struct doctor_facts *ret);

/* The part of them that doctor-memory.c judges. bus: NULL when the actuator is not on it. */
void doctor_probe_memory(const char *root, sd_bus *bus, struct doctor_memory *ret);
