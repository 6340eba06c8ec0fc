/* SPDX-License-Identifier: MIT */
#include "listen.h"

#include <time.h>

#include "log.h"
#include "names.h"
#include "run.h"
#include "terminal.h"

struct listener {
    sd_bus *bus;
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

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct listener *l = userdata;
    _cleanup_json_ json_t *arguments = NULL;
    int r = message_all_to_json(m, &arguments);

    if (l->over)
        return 0;
    if (r >= 0)
        r = l->json ? print_json(m, arguments) : print_line(m, arguments);
    if (r < 0)
        l->error = r;
    l->over = r < 0 || (l->left > 0 && --l->left == 0);
    return 0;
}

static int listen_to(struct listener *l, const struct client_daemon *d)
{
    return sd_bus_match_signal(l->bus, NULL, d->name, d->path, NULL, NULL, on_signal, l);
}

int run_monitor(struct client *c, const struct ctl_options *o)
{
    struct listener l = { .bus = c->bus, .left = o->count, .json = o->json };
    int r = listen_to(&l, &client_actuator);

    if (r >= 0)
        r = listen_to(&l, &client_monitor);
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
