/* SPDX-License-Identifier: MIT */
#include "doctor-judge.h"

#include <glib.h>

#include "doctor-print.h"
#include "doctor-probe.h"
#include "log.h"
#include "run.h"
#include "terminal.h"

/* Where the text begins, and the remedy under it. */
#define INDENT 25u

void doctor_print_check(GString *out, const struct draw_style *s, const struct doctor_check *c)
{
    static const enum draw_colour colours[_DOCTOR_VERDICT_MAX] = {
        [DOCTOR_OK] = DRAW_GREEN,
        [DOCTOR_UNKNOWN] = DRAW_DIM,
        [DOCTOR_WARNING] = DRAW_YELLOW,
        [DOCTOR_FAULT] = DRAW_RED,
    };

    draw_colour(out, s, colours[c->verdict], "%-7s", doctor_verdict_to_string(c->verdict));
    g_string_append_printf(out, "  %-15s ", c->name);
    draw_wrapped(out, s, c->text, INDENT);
    if (c->remedy) {
        g_string_append_printf(out, "\n%*s", (int)INDENT, "");
        draw_wrapped(out, s, c->remedy, INDENT);
    }
    g_string_append_c(out, '\n');
}

static int print_report(const struct doctor_report *r)
{
    struct draw_style style = terminal_style();
    g_autoptr(GString) out = g_string_new(NULL);

    for (size_t i = 0; i < r->n; i++)
        doctor_print_check(out, &style, &r->checks[i]);
    g_string_append_printf(out, "%zu checks: %u faults, %u warnings, %u unknown\n", r->n,
            doctor_count(r, DOCTOR_FAULT), doctor_count(r, DOCTOR_WARNING), doctor_count(r, DOCTOR_UNKNOWN));
    return terminal_print(out);
}

json_t *doctor_check_json(const struct doctor_check *c)
{
    return json_pack("{s:s, s:s, s:s, s:s?}", "name", c->name, "verdict",
            doctor_verdict_to_string(c->verdict), "text", c->text, "remedy", c->remedy);
}

static int print_json(const struct doctor_report *r)
{
    _cleanup_json_ json_t *checks = json_array();

    for (size_t i = 0; i < r->n; i++) {
        const struct doctor_check *c = &r->checks[i];

        if (json_array_append_new(checks, doctor_check_json(c)) < 0)
            return -ENOMEM;
    }
    return terminal_print_json(checks, false);
}

int run_doctor(const struct ctl_options *o)
{
    _cleanup_(client_close) struct client c = { 0 };
    struct doctor_report report;
    struct doctor_facts facts;
    int r;

    (void)client_open(o->bus, false, &c);
    doctor_probe(o->root, c.bus, &facts);
    doctor_judge(&facts, &report);
    r = o->json ? print_json(&report) : print_report(&report);
    if (r < 0) {
        log_error("standard output: %s", strerror(-r));
        return FAULT_INTERNAL;
    }
    return (int)doctor_count(&report, DOCTOR_FAULT);
}
