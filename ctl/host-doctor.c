/* SPDX-License-Identifier: MIT */
/* host doctor: this host, and each of its VMs. */
#include <glib.h>

#include "doctor-print.h"
#include "doctor-probe.h"
#include "host-judge.h"
#include "log.h"
#include "procfile.h"
#include "run.h"
#include "state.h"
#include "terminal.h"

/* memory.max of one cgroup: "max" or bytes. UINT64_MAX where there is none, as in the root. */
static uint64_t read_max(const char *root, const char *cgroup)
{
    g_autofree char *path = g_build_filename(root ?: "/", "sys/fs/cgroup", cgroup, "memory.max", NULL);
    char text[64];
    size_t len;

    if (procfile_read(path, text, sizeof(text), &len) < 0 || !g_ascii_isdigit(text[0]))
        return UINT64_MAX;
    return g_ascii_strtoull(text, NULL, 10);
}

/* The smallest bound from the process's cgroup up to the root: each of them holds it. */
static int read_bound(const char *root, uint32_t process, uint64_t *ret)
{
    g_autofree char *name = g_strdup_printf("proc/%u/cgroup", process);
    g_autofree char *path = g_build_filename(root ?: "/", name, NULL), *cgroup = NULL;
    uint64_t bound = UINT64_MAX;
    char text[4096], *line;
    size_t len;
    int r = procfile_read(path, text, sizeof(text), &len);

    if (r < 0)
        return r;
    line = g_str_has_prefix(text, "0::/") ? text : strstr(text, "\n0::/");
    if (!line)
        return -EOPNOTSUPP;
    line += strcspn(line, "/");
    cgroup = g_strndup(line, strcspn(line, "\n"));
    while (strlen(cgroup) > 1) {
        bound = MIN_OF(bound, read_max(root, cgroup));
        *strrchr(cgroup, '/') = '\0';
    }
    *ret = bound;
    return 0;
}

static void check_vm(const char *root, const json_t *vm, struct doctor_check *ret)
{
    struct host_vm_facts f = {
        .name = state_text(vm, "Name"),
        .state = state_text(vm, "State"),
        .process = (uint32_t)state_number(vm, "Process"),
        .boot_size = state_number(vm, "BootSize"),
        .max_size = state_number(vm, "MaxSize"),
        .bound = UINT64_MAX,
    };

    if (f.process > 0)
        f.bound_known = read_bound(root, f.process, &f.bound);
    host_judge_vm(&f, ret);
}

/* All checks, those of the machine first. */
static GArray *gather(const struct ctl_options *o, struct client *c, json_t **ret_vms)
{
    GArray *checks = g_array_new(false, true, sizeof(struct doctor_check));
    struct doctor_report report;
    struct doctor_facts facts;
    json_t *vms;

    doctor_probe(o->root, c->bus, &facts);
    facts.host = true;
    doctor_judge(&facts, &report);
    g_array_append_vals(checks, report.checks, (guint)report.n);
    if (!facts.landlord || client_read_host(c, ret_vms) < 0)
        return checks;
    vms = json_object_get(*ret_vms, "VMs");
    for (size_t i = 0; i < json_array_size(vms); i++) {
        struct doctor_check one;

        check_vm(o->root, json_array_get(vms, i), &one);
        g_array_append_vals(checks, &one, 1);
    }
    return checks;
}

static int print_checks(const GArray *checks, const unsigned counts[static _DOCTOR_VERDICT_MAX])
{
    struct draw_style style = terminal_style();
    g_autoptr(GString) out = g_string_new(NULL);

    for (unsigned i = 0; i < checks->len; i++)
        doctor_print_check(out, &style, &g_array_index(checks, struct doctor_check, i));
    g_string_append_printf(out, "%u checks: %u faults, %u warnings, %u unknown\n", checks->len,
            counts[DOCTOR_FAULT], counts[DOCTOR_WARNING], counts[DOCTOR_UNKNOWN]);
    return terminal_print(out);
}

static int print_json(const GArray *checks)
{
    _cleanup_json_ json_t *all = json_array();

    for (unsigned i = 0; i < checks->len; i++)
        if (json_array_append_new(all, doctor_check_json(&g_array_index(checks, struct doctor_check, i))) < 0)
            return -ENOMEM;
    return terminal_print_json(all, false);
}

int run_host_doctor(const struct ctl_options *o)
{
    _cleanup_(client_close) struct client c = { 0 };
    unsigned counts[_DOCTOR_VERDICT_MAX] = { 0 };
    _cleanup_json_ json_t *vms = NULL; /* the checks borrow names of it */
    g_autoptr(GArray) checks = NULL;
    int r;

    (void)client_open(o->bus, false, &c);
    checks = gather(o, &c, &vms);
    for (unsigned i = 0; i < checks->len; i++)
        counts[g_array_index(checks, struct doctor_check, i).verdict]++;
    r = o->json ? print_json(checks) : print_checks(checks, counts);
    if (r < 0) {
        log_error("standard output: %s", strerror(-r));
        return FAULT_INTERNAL;
    }
    /* Signals and shells use what is above. */
    return (int)MIN_OF(counts[DOCTOR_FAULT], 63u);
}
