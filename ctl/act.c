/* SPDX-License-Identifier: MIT */
/* Verbs that change something: plug, unplug, set-limits, pause, resume. */
#include <glib.h>

#include "bytes.h"
#include "run.h"
#include "terminal.h"

static int say(const char *format, ...) _printf_(1, 2);
static int say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    return FAULT_NONE;
}

/* Who asks; the logs and SizeChanged name it. */
static const char *reason(const struct ctl_options *o)
{
    return o->why ?: "asked for with vmtidectl";
}

int run_resize(struct client *c, const struct ctl_options *o)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const char *member = o->verb == VERB_PLUG ? "Plug" : "Unplug";
    uint64_t requested;
    int r = client_act(c, &client_actuator, member, &reply, "ts", o->size, reason(o));

    if (r < 0)
        return r;
    r = sd_bus_message_read(reply, "t", &requested);
    if (r < 0)
        return client_fail(member, r, NULL);
    if (o->json)
        return say("{\"RequestedSize\": %" G_GUINT64_FORMAT "}\n", requested);
    return say("granted: the requested size is %s now\n", FORMAT_BYTES(requested));
}

/* What is not said goes as 2^64 - 1: the one in force stays; with both, the configuration's are in force
 * again. */
int run_set_limits(struct client *c, const struct ctl_options *o)
{
    int r = client_act(
            c, &client_actuator, "SetLimits", NULL, "ttb", o->min, o->max, (int)(o->persist || o->reset));

    if (r < 0)
        return r;
    if (o->reset)
        return say("the configuration's limits are in force again\n");
    return say("limits set%s: min size %s, max size %s\n",
            o->persist ? " and saved" : " until the next start",
            o->min < UINT64_MAX ? FORMAT_BYTES(o->min) : "as it was",
            o->max == 0           ? "the host's"
            : o->max < UINT64_MAX ? FORMAT_BYTES(o->max)
                                  : "as it was");
}

int run_pause(struct client *c, const struct ctl_options *o)
{
    int r = client_act(c, &client_monitor, "Pause", NULL, "su", o->why ?: "", o->seconds);

    if (r < 0)
        return r;
    if (o->seconds == 0)
        return say("paused: nothing grows or shrinks by itself until vmtidectl resume\n");
    return say("paused for %s\n", DRAW_SPAN(o->seconds * USEC_PER_SEC));
}

int run_resume(struct client *c, const struct ctl_options *o)
{
    int r = client_act(c, &client_monitor, "Resume", NULL, "");

    return r < 0 ? r : say("resumed\n");
}
