/* SPDX-License-Identifier: MIT */
/* Verbs that show what is: status, reservations, explain. */
#include "log.h"
#include "run.h"
#include "terminal.h"

static int printed(int r)
{
    if (r < 0)
        log_error("standard output: %s", strerror(-r));
    return r < 0 ? FAULT_INTERNAL : FAULT_NONE;
}

int run_status(struct client *c, const struct ctl_options *o)
{
    g_autoptr(GString) out = g_string_new(NULL);
    struct draw_style style = terminal_style();
    struct screen_clock now = terminal_clock();
    _cleanup_json_ json_t *root = NULL;
    struct ctl_state state;
    int r = client_read_state(c, STATE_DECISIONS, &root);

    if (r < 0)
        return r;
    state_read(root, &state);
    screen_status(out, &style, &state, &now);
    r = printed(o->json ? terminal_print_json(root, false) : terminal_print(out));
    /* For scripts: is it whole? */
    return r == FAULT_NONE && !(state.actuator && state.monitor) ? FAULT_UNAVAILABLE : r;
}

int run_reservations(struct client *c, const struct ctl_options *o)
{
    g_autoptr(GString) out = g_string_new(NULL);
    struct draw_style style = terminal_style();
    struct screen_clock now = terminal_clock();
    _cleanup_json_ json_t *list = NULL;
    int r = client_reservations(c, &list);

    if (r < 0)
        return r;
    if (json_array_size(list) == 0)
        g_string_append(out, "nothing is reserved\n");
    screen_reservations(out, &style, list, &now, 0);
    return printed(o->json ? terminal_print_json(list, false) : terminal_print(out));
}

int run_explain(struct client *c, const struct ctl_options *o)
{
    g_autoptr(GString) out = g_string_new(NULL);
    struct draw_style style = terminal_style();
    _cleanup_json_ json_t *list = NULL;
    int r = client_explain(c, o->count > 0 ? o->count : EXPLAIN_COUNT, &list);

    if (r < 0)
        return r;
    if (json_array_size(list) == 0)
        g_string_append(out, "nothing was decided yet\n");
    for (size_t i = 0; i < json_array_size(list); i++)
        screen_decision(out, &style, json_array_get(list, i));
    return printed(o->json ? terminal_print_json(list, false) : terminal_print(out));
}
