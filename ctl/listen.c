/* SPDX-License-Identifier: MIT */
#include "listen.h"

#include <time.h>

#include "log.h"
#include "names.h"
#include "run.h"
#include "terminal.h"

#define BUS_NAME "org.freedesktop.DBus"
/* A bus name has at most 255 bytes. */
#define OWNER_MAX 256

struct listener {
    sd_bus *bus;
    struct {
        const struct client_daemon *d;
        char owner[OWNER_MAX]; /* unique name; empty: the daemon does not run */
    } daemons[2];
    uint32_t left; /* 0: without end */
    bool json;
    bool over;
    int error;
};

/* The daemon's name for people: what comes after the last dot of org.vmtide.Monitor1. */
static const char *daemon_of(sd_bus_message *m)
{
    return streq(sd_bus_message_get_path(m), MONITOR_PATH) ? client_monitor.key : client_actuator.key;
}

static int print_line(sd_bus_message *m, const json_t *arguments)
{
    g_autoptr(GString) out = g_string_new(NULL);
    time_t now = time(NULL);
    struct tm tm;
    char text[16] = "";

    if (localtime_r(&now, &tm))
        (void)strftime(text, sizeof(text), "%H:%M:%S", &tm);
    g_string_append_printf(out, "%s %-9s %-17s ", text, daemon_of(m), sd_bus_message_get_member(m));
    listen_describe(out, sd_bus_message_get_member(m), arguments);
    g_string_append_c(out, '\n');
    return terminal_print(out);
}

static int print_json(sd_bus_message *m, json_t *arguments)
{
    _cleanup_json_ json_t *line =
            json_pack("{s:I, s:s, s:s, s:O}", "time", (json_int_t)terminal_clock().realtime_usec, "daemon",
                    daemon_of(m), "member", sd_bus_message_get_member(m), "arguments", arguments);

    return line ? terminal_print_json(line, true) : -ENOMEM;
}

/* Any bus client may send a signal to this one; vmtidectl prints only those of the owner of the daemon's
 * name. */
static bool is_from_owner(const struct listener *l, sd_bus_message *m)
{
    const char *sender = sd_bus_message_get_sender(m);

    for (size_t i = 0; sender && i < ELEMENTSOF(l->daemons); i++)
        if (streq(l->daemons[i].owner, sender) && streq(l->daemons[i].d->path, sd_bus_message_get_path(m)))
            return true;
    return false;
}

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct listener *l = userdata;
    _cleanup_json_ json_t *arguments = NULL;
    int r;

    if (l->over || !is_from_owner(l, m))
        return 0;
    r = message_all_to_json(m, &arguments);
    if (r == -EOPNOTSUPP || r == -EBADMSG || r == -ENXIO) {
        log_warning("%s: signal %s has unsupported arguments, ignored", daemon_of(m),
                sd_bus_message_get_member(m));
        return 0;
    }
    if (r >= 0)
        r = l->json ? print_json(m, arguments) : print_line(m, arguments);
    if (r < 0)
        l->error = r;
    l->over = r < 0 || (l->left > 0 && --l->left == 0);
    return 0;
}

static void set_owner(struct listener *l, const char *name, const char *owner)
{
    for (size_t i = 0; i < ELEMENTSOF(l->daemons); i++)
        if (l->daemons[i].d && streq(l->daemons[i].d->name, name))
            g_strlcpy(l->daemons[i].owner, owner, sizeof(l->daemons[i].owner));
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *name, *old, *new;

    if (streq(sd_bus_message_get_sender(m) ?: "", BUS_NAME) &&
            sd_bus_message_read(m, "sss", &name, &old, &new) >= 0)
        set_owner(userdata, name, new);
    return 0;
}

/* Asks the bus daemon for the present owner. on_owner() handles each later one, also when the name has none
 * yet. */
static int ask_owner(struct listener *l, const struct client_daemon *d)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    const char *owner;
    int r = sd_bus_call_method(l->bus, BUS_NAME, "/org/freedesktop/DBus", BUS_NAME, "GetNameOwner", &error,
            &reply, "s", d->name);

    if (sd_bus_error_has_name(&error, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
        return 0;
    if (r >= 0)
        r = sd_bus_message_read(reply, "s", &owner);
    if (r >= 0)
        set_owner(l, d->name, owner);
    return r;
}

static int listen_to(struct listener *l, size_t i, const struct client_daemon *d)
{
    g_autofree char *rule = g_strdup_printf("type='signal',sender='" BUS_NAME "',interface='" BUS_NAME
                                            "',member='NameOwnerChanged',arg0='%s'",
            d->name);
    int r;

    l->daemons[i].d = d;
    r = sd_bus_add_match(l->bus, NULL, rule, on_owner, l);
    if (r >= 0)
        r = sd_bus_match_signal(l->bus, NULL, d->name, d->path, NULL, NULL, on_signal, l);
    return r < 0 ? r : ask_owner(l, d);
}

int run_monitor(struct client *c, const struct ctl_options *o)
{
    struct listener l = { .bus = c->bus, .left = o->count, .json = o->json };
    int r = listen_to(&l, 0, &client_actuator);

    if (r >= 0)
        r = listen_to(&l, 1, &client_monitor);
    while (r >= 0 && !l.over) {
        r = sd_bus_process(l.bus, NULL);
        if (r == 0)
            r = sd_bus_wait(l.bus, UINT64_MAX);
        if (r == -EINTR)
            r = 0;
    }
    if (r >= 0)
        r = l.error;
    return r < 0 ? client_fail("monitor", r, NULL) : (int)FAULT_NONE;
}
