/* SPDX-License-Identifier: MIT */
#pragma once

#include "client.h"
#include "options.h"

/* The verbs. Each returns the exit status, or a negative one that was said already (client.h). */
int run_status(struct client *c, const struct ctl_options *o);
int run_watch(struct client *c, const struct ctl_options *o);
int run_resize(struct client *c, const struct ctl_options *o);
int run_set_limits(struct client *c, const struct ctl_options *o);
int run_reserve(struct client *c, const struct ctl_options *o);
int run_reservations(struct client *c, const struct ctl_options *o);
int run_pause(struct client *c, const struct ctl_options *o);
int run_resume(struct client *c, const struct ctl_options *o);
int run_explain(struct client *c, const struct ctl_options *o);
int run_monitor(struct client *c, const struct ctl_options *o);
int run_host_show(struct client *c, const struct ctl_options *o);
int run_host_act(struct client *c, const struct ctl_options *o);
/* Opens the bus itself: that there is none is one of the things it tells. */
int run_doctor(const struct ctl_options *o);
int run_host_doctor(const struct ctl_options *o);
