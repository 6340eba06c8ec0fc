/* SPDX-License-Identifier: MIT */
#include <glib.h>
#include <signal.h>
#include <systemd/sd-event.h>

#include "host-screen.h"
#include "log.h"
#include "names.h"
#include "run.h"
#include "terminal.h"

/* A column of the sparkline is a second; changes are shown at once, but not faster than an eye sees. */
#define EVERY_USEC USEC_PER_SEC
#define CHANGE_USEC (100 * USEC_PER_MSEC)
/* Thousands of VMs change all the time: no more than one part in so many of the time goes into looking. */
#define TAKES_MAX 10u

struct watch {
    struct client *client;
    sd_event *event;
    sd_event_source *timer;
    struct screen_history history;
    uint64_t column_at; /* when the last column was added; CLOCK_BOOTTIME */
    uint64_t took_usec; /* to read and draw it last */
    uint32_t left;      /* 0: without end */
    bool json;
    bool screen;
    bool host; /* its VMs, not this guest */
};

/* From the top, each line to its end, and nothing of the last screen below: no flicker. */
static GString *in_place(const GString *plain)
{
    g_auto(GStrv) lines = g_strsplit(plain->str, "\n", -1);
    g_autofree char *joined = g_strjoinv("\033[K\n", lines);
    GString *out = g_string_new("\033[H");

    g_string_append_printf(out, "%s\033[J", joined);
    return out;
}

static int show_screen(struct watch *w, const struct ctl_state *state, const struct screen_clock *now)
{
    g_autoptr(GString) plain = g_string_new(NULL), out = NULL;
    struct draw_style style = terminal_style();

    screen_status(plain, &style, state, now);
    screen_history(plain, &style, &w->history, state);
    out = in_place(plain);
    return terminal_print(out);
}

static int show_line(const struct ctl_state *state, const struct screen_clock *now)
{
    g_autoptr(GString) out = g_string_new(NULL);

    screen_line(out, state, now);
    g_string_append_c(out, '\n');
    return terminal_print(out);
}

static int show_host(struct watch *w)
{
    g_autoptr(GString) plain = g_string_new(NULL), out = NULL;
    struct draw_style style = terminal_style();
    struct screen_clock now = terminal_clock();
    _cleanup_json_ json_t *root = NULL;
    int r = client_read_host(w->client, &root);

    if (r < 0)
        return r;
    if (w->json)
        return terminal_print_json(root, true) < 0 ? -(int)FAULT_INTERNAL : 0;
    host_screen_list(plain, &style, root, &now);
    if (w->screen)
        terminal_cut(plain);
    w->took_usec = sub_floor(terminal_clock().boottime_usec, now.boottime_usec);
    out = w->screen ? in_place(plain) : g_string_new(plain->str);
    return terminal_print(out) < 0 ? -(int)FAULT_INTERNAL : 0;
}

static int show(struct watch *w)
{
    struct screen_clock now = terminal_clock();
    _cleanup_json_ json_t *root = NULL;
    struct ctl_state state;
    int r = client_read_state(w->client, STATE_DECISIONS, &root);

    if (r < 0)
        return r;
    state_read(root, &state);
    if (now.boottime_usec >= w->column_at + EVERY_USEC || w->history.n == 0) {
        screen_history_add(&w->history, &state);
        w->column_at = now.boottime_usec;
    }
    r = w->json     ? terminal_print_json(root, true)
        : w->screen ? show_screen(w, &state, &now)
                    : show_line(&state, &now);
    return r < 0 ? -(int)FAULT_INTERNAL : 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct watch *w = userdata;
    int r = w->host ? show_host(w) : show(w);

    /* Slow answers are what memory that is short looks like: the last screen stays, and the next second asks
     * again. */
    if (r < 0 && !(w->screen && r == -(int)FAULT_TRY_AGAIN))
        return sd_event_exit(w->event, -r);
    if (w->left > 0 && --w->left == 0)
        return sd_event_exit(w->event, FAULT_NONE);
    (void)sd_event_source_set_time_relative(source, EVERY_USEC);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Lines come once a second, whatever happens; a screen follows what happens. */
static int on_signal_of_daemon(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct watch *w = userdata;
    uint64_t at, soon;

    if (sd_event_now(w->event, CLOCK_MONOTONIC, &soon) < 0 || sd_event_source_get_time(w->timer, &at) < 0)
        return 0;
    soon += MAX_OF(CHANGE_USEC, TAKES_MAX * w->took_usec);
    if (soon < at)
        (void)sd_event_source_set_time(w->timer, soon);
    return 0;
}

static int on_end(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
    return sd_event_exit(sd_event_source_get_event(source), FAULT_NONE);
}

static int add_matches(struct watch *w)
{
    int r = 0;

    if (!w->screen)
        return 0;
    if (w->host)
        return sd_bus_match_signal(w->client->bus, NULL, HOST_NAME, NULL, NULL, NULL, on_signal_of_daemon, w);
    r = sd_bus_match_signal(w->client->bus, NULL, ACTUATOR_NAME, NULL, NULL, NULL, on_signal_of_daemon, w);
    return r < 0 ? r
                 : sd_bus_match_signal(
                           w->client->bus, NULL, MONITOR_NAME, NULL, NULL, NULL, on_signal_of_daemon, w);
}

static int prepare(struct watch *w)
{
    sigset_t mask;
    int r = sd_event_default(&w->event);

    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGINT);
    (void)sigaddset(&mask, SIGTERM);
    (void)sigaddset(&mask, SIGHUP);
    if (r >= 0)
        r = sigprocmask(SIG_BLOCK, &mask, NULL) < 0 ? -errno : 0;
    if (r >= 0)
        r = sd_event_add_signal(w->event, NULL, SIGINT, on_end, NULL);
    if (r >= 0)
        r = sd_event_add_signal(w->event, NULL, SIGTERM, on_end, NULL);
    if (r >= 0)
        r = sd_event_add_signal(w->event, NULL, SIGHUP, on_end, NULL);
    if (r >= 0)
        r = sd_event_add_time_relative(
                w->event, &w->timer, CLOCK_MONOTONIC, 0, 10 * USEC_PER_MSEC, on_timer, w);
    if (r >= 0)
        r = sd_bus_attach_event(w->client->bus, w->event, SD_EVENT_PRIORITY_NORMAL);
    return r < 0 ? r : add_matches(w);
}

int run_watch(struct client *c, const struct ctl_options *o)
{
    struct watch w = { .client = c, .left = o->count, .json = o->json, .host = o->verb == VERB_HOST_WATCH };
    int r;

    w.screen = terminal_is_one() && !o->json;
    r = prepare(&w);
    if (r < 0)
        r = client_fail("watch", r, NULL);
    else {
        /* The alternate screen: what was there before comes back. No cursor in the way. */
        if (w.screen)
            (void)fputs("\033[?1049h\033[?25l", stdout);
        /* A row of the list that is too long ends with its line. */
        if (w.screen && w.host)
            (void)fputs("\033[?7l", stdout);
        r = sd_event_loop(w.event);
        if (w.screen) {
            (void)fprintf(stdout, "%s\033[?25h\033[?1049l", w.host ? "\033[?7h" : "");
            (void)fflush(stdout);
        }
    }
    (void)sd_bus_detach_event(c->bus);
    sd_event_source_disable_unref(w.timer);
    sd_event_unref(w.event);
    return r;
}
