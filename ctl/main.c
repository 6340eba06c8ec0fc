/* SPDX-License-Identifier: MIT */
#include <glib.h>
#include <locale.h>

#include "log.h"
#include "run.h"

static int run_on_bus(struct client *c, const struct ctl_options *o)
{
    switch (o->verb) {
    case VERB_STATUS:
        return run_status(c, o);
    case VERB_WATCH:
    case VERB_HOST_WATCH:
        return run_watch(c, o);
    case VERB_PLUG:
    case VERB_UNPLUG:
        return run_resize(c, o);
    case VERB_SET_LIMITS:
        return run_set_limits(c, o);
    case VERB_RESERVE:
        return run_reserve(c, o);
    case VERB_RESERVATIONS:
        return run_reservations(c, o);
    case VERB_PAUSE:
        return run_pause(c, o);
    case VERB_RESUME:
        return run_resume(c, o);
    case VERB_EXPLAIN:
        return run_explain(c, o);
    case VERB_MONITOR:
        return run_monitor(c, o);
    case VERB_HOST_LIST:
    case VERB_HOST_SHOW:
        return run_host_show(c, o);
    case VERB_HOST_SET_LIMITS:
    case VERB_HOST_SET_WEIGHT:
    case VERB_HOST_SHRINK:
    case VERB_HOST_PAUSE:
    case VERB_HOST_RESUME:
        return run_host_act(c, o);
    case VERB_DOCTOR:
    case VERB_HOST_DOCTOR:
    case _VERB_MAX:
    case _VERB_INVALID:
        break;
    }
    return FAULT_INTERNAL;
}

static int run(const struct ctl_options *o)
{
    _cleanup_(client_close) struct client c = { 0 };
    int r;

    if (o->verb == VERB_DOCTOR)
        return run_doctor(o);
    if (o->verb == VERB_HOST_DOCTOR)
        return run_host_doctor(o);
    r = client_open(o->bus, o->ask_password, &c);
    return abs(r < 0 ? r : run_on_bus(&c, o));
}

int main(int argc, char **argv)
{
    _cleanup_(options_clear) struct ctl_options o = { 0 };
    g_autofree char *text = NULL;
    int r;

    (void)setlocale(LC_ALL, "");
    g_set_prgname("vmtidectl");
    log_open("vmtidectl");
    r = options_parse(argv, &o, &text);
    if (r < 0) {
        log_error("%s", text);
        return FAULT_USAGE;
    }
    if (r > 0) {
        (void)fputs(text, stdout);
        return FAULT_NONE;
    }
    return run(&o);
}
