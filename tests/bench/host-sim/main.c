/* SPDX-License-Identifier: MIT */
/* Many VMs on one host that cannot give all of them their peak: who gets what it needs. */
#include <err.h>
#include <glib.h>

#include "sim.h"

static const char *const policy_names[_SIM_POLICY_MAX] = { "vmtide", "fixed", "first-come" };

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Jain's index: 1 when all are the same, 1/n when one has all (Jain, Chiu and Hawe, DEC-TR-301, 1984). */
static double jain(const double *x, unsigned n)
{
    double sum = 0, squares = 0;

    for (unsigned i = 0; i < n; i++) {
        sum += x[i];
        squares += x[i] * x[i];
    }
    return squares > 0 ? sum * sum / (n * squares) : 1;
}

static void show(const struct sim *s)
{
    unsigned n = s->options->n_vms;
    g_autofree double *ok = g_new(double, n);
    double sum = 0;

    for (unsigned i = 0; i < n; i++) {
        ok[i] = 100.0 * (double)s->vms[i].ticks_ok / (double)MAX_OF(s->ticks, 1);
        sum += ok[i];
    }
    qsort(ok, n, sizeof(*ok), compare);
    printf("%-10s %8.2f %8.2f %8.2f %10.4f", policy_names[s->policy], sum / n, ok[0], ok[n / 20],
            jain(ok, n));
    if (s->ticks_scarce > 0)
        printf(" %10.4f", s->fairness / (double)s->ticks_scarce);
    else
        printf(" %10s", "-");
    printf(" %8.1f %8llu %10.2f %8llu %8llu %8llu\n",
            100.0 * (double)s->ticks_scarce / (double)MAX_OF(s->ticks, 1), (unsigned long long)s->ticks_over,
            (double)s->least_left / (double)GIB(1), (unsigned long long)s->notes[VM_NOTE_GRANTED],
            (unsigned long long)s->notes[VM_NOTE_REFUSED], (unsigned long long)s->notes[VM_NOTE_ASK_SHRINK]);
}

static void show_head(const struct sim_options *o)
{
    printf("%u VMs, one of four with twice the weight; host memory %u %% of the sum of their peaks and a "
           "reserve of %s; "
           "starts spread over %u %% of the recording\n"
           "%-10s %8s %8s %8s %10s %10s %8s %8s %10s %8s %8s %8s\n",
            o->n_vms, o->memory_percent, FORMAT_BYTES(o->reserve), o->spread_percent, "policy", "ok %",
            "worst %", "5th %", "jain", "jain/weight", "scarce %", "over s", "left GiB", "granted", "refused",
            "asked");
}

static void explain(void)
{
    puts("ok: share of the time that a VM had what it used (mean, the worst VM, the worst of each twenty); "
         "jain: of "
         "those shares;\njain/weight: of size by weight among those that lack something, mean over the "
         "seconds with at "
         "least two such (scarce);\nover: seconds in which the host owed more than it has beside its "
         "reserve; left: "
         "the least beside it");
}

int main(int argc, char **argv)
{
    int vms = 200, memory = 60, spread = 10;
    const GOptionEntry entries[] = {
        { "vms", 0, 0, G_OPTION_ARG_INT, &vms, "How many (default 200)", "N" },
        { "memory", 0, 0, G_OPTION_ARG_INT, &memory,
                "The host's memory, of the sum of the peaks (default 60)", "PERCENT" },
        { "spread", 0, 0, G_OPTION_ARG_INT, &spread,
                "Over how much of the recording the starts are spread (default 10)", "PERCENT" },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };
    g_autoptr(GOptionContext) context = g_option_context_new("TRACE.csv");
    g_autoptr(GError) error = NULL;
    struct trace trace = { 0 };
    char *why = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error))
        errx(2, "%s", error->message);
    if (argc != 2 || vms < 1 || vms > 4096 || memory < 1 || memory > 200 || spread < 0 || spread > 100)
        errx(2, "one recording is needed, 1 to 4096 VMs, memory of 1 to 200 %%, spread of 0 to 100 %%; see "
                "--help");
    if (trace_load(argv[1], &trace, &why) < 0)
        errx(EXIT_FAILURE, "%s", why);

    struct sim_options o = {
        .n_vms = (unsigned)vms,
        .memory_percent = (unsigned)memory,
        .spread_percent = (unsigned)spread,
        .reserve = GIB(4),
        .trace = &trace,
    };

    show_head(&o);
    for (int p = 0; p < _SIM_POLICY_MAX; p++) {
        struct sim s;

        sim_run(&s, &o, (enum sim_policy)p);
        show(&s);
        sim_clear(&s);
    }
    explain();
    trace_clear(&trace);
    return EXIT_SUCCESS;
}
