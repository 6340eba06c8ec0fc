/* SPDX-License-Identifier: MIT */
/* host list, show, set-limits, set-weight, shrink, pause and resume. */
#include "bytes.h"
#include "host-screen.h"
#include "log.h"
#include "names.h"
#include "run.h"
#include "terminal.h"

static int show_one(const struct ctl_options *o, const json_t *root, GString *out, json_t **ret)
{
    struct draw_style style = terminal_style();
    struct screen_clock now = terminal_clock();
    json_t *vm = host_screen_find(root, o->vm);

    if (!vm)
        return client_fail(o->vm, -ENOENT, &SD_BUS_ERROR_MAKE_CONST(ERROR_NO_SUCH_VM, "there is no such VM"));
    host_screen_vm(out, &style, vm, &now);
    *ret = vm;
    return 0;
}

int run_host_show(struct client *c, const struct ctl_options *o)
{
    g_autoptr(GString) out = g_string_new(NULL);
    struct draw_style style = terminal_style();
    struct screen_clock now = terminal_clock();
    _cleanup_json_ json_t *root = NULL;
    json_t *shown;
    int r = client_read_host(c, &root);

    if (r < 0)
        return r;
    shown = root;
    if (o->verb == VERB_HOST_SHOW)
        r = show_one(o, root, out, &shown);
    else
        host_screen_list(out, &style, root, &now);
    if (r < 0)
        return r;
    r = o->json ? terminal_print_json(shown, false) : terminal_print(out);
    if (r < 0)
        log_error("standard output: %s", strerror(-r));
    return r < 0 ? FAULT_INTERNAL : FAULT_NONE;
}

static int set_limits(struct client *c, const struct ctl_options *o)
{
    int r = client_act_vm(c, o->vm, "SetLimits", "ttb", o->min, o->max, (int)(o->persist || o->reset));

    if (r < 0)
        return r;
    if (o->reset)
        (void)printf("%s: the configuration's limits are in force again\n", o->vm);
    else
        (void)printf("%s: limits set%s: min size %s, max size %s\n", o->vm,
                o->persist ? " and saved" : " until the daemon's next start",
                o->min < UINT64_MAX ? FORMAT_BYTES(o->min) : "as it was",
                o->max == 0           ? "what its devices can hold"
                : o->max < UINT64_MAX ? FORMAT_BYTES(o->max)
                                      : "as it was");
    return FAULT_NONE;
}

static int set_weight(struct client *c, const struct ctl_options *o)
{
    int r = client_act_vm(c, o->vm, "SetWeight", "ub", o->weight, (int)o->persist);

    if (r < 0)
        return r;
    if (o->weight == 0)
        (void)printf("%s: the configuration's weight is in force again\n", o->vm);
    else
        (void)printf("%s: weight %u%s\n", o->vm, o->weight,
                o->persist ? ", saved" : " until the daemon's next start");
    return FAULT_NONE;
}

static int pause_vm(struct client *c, const struct ctl_options *o)
{
    int r = client_act_vm(c, o->vm, "Pause", "su", o->why ?: "", o->seconds);

    if (r < 0)
        return r;
    if (o->seconds == 0)
        (void)printf("%s: nothing is plugged or unplugged until vmtidectl host resume %s\n", o->vm, o->vm);
    else
        (void)printf(
                "%s: nothing is plugged or unplugged for %s\n", o->vm, DRAW_SPAN(o->seconds * USEC_PER_SEC));
    return FAULT_NONE;
}

int run_host_act(struct client *c, const struct ctl_options *o)
{
    int r;

    if (o->verb == VERB_HOST_SET_LIMITS)
        return set_limits(c, o);
    if (o->verb == VERB_HOST_SET_WEIGHT)
        return set_weight(c, o);
    if (o->verb == VERB_HOST_PAUSE)
        return pause_vm(c, o);
    if (o->verb == VERB_HOST_SHRINK) {
        r = client_act_vm(c, o->vm, "RequestShrink", "ts", o->size, o->why ?: "");
        if (r >= 0)
            (void)printf("%s: its guest was asked to give back down to %s, which it may decline\n", o->vm,
                    FORMAT_BYTES(o->size));
        return r;
    }
    r = client_act_vm(c, o->vm, "Resume", "");
    if (r >= 0)
        (void)printf("%s: resumed\n", o->vm);
    return r;
}
