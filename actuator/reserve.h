/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-bus.h>

#include "actuator.h"
#include "reservations.h"

/* Reservations in the loop: each lives as long as somebody holds the other end of its pipe. systemd keeps our
 * ends over a restart (fd store), a file in /run what they mean. */
struct reserve;

#define RESERVE_SAVED_PATH "/run/vmtide/reservations"
/* Plugging is granted in milliseconds and done in seconds; after this the reservation has failed. */
#define RESERVE_TIMEOUT_USEC (30 * USEC_PER_SEC)

int reserve_new(
        sd_event *event, struct actuator *a, const char *procfs, const char *saved, struct reserve **ret);
struct reserve *reserve_free(struct reserve *r);

/* Answers m with an fd when the memory is there, or with the error. bytes and texts were checked. */
int reserve_request(struct reserve *r, sd_bus_message *m, uid_t uid, uint64_t bytes, const char *who,
        const char *why, sd_bus_error *error);
/* The size, or what holds it back, has changed. */
void reserve_follow(struct reserve *r, const struct actuator_view *v);

const struct reservations *reserve_table(const struct reserve *r);
