/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <glib.h>

#include "bytes.h"
#include "config.h"
#include "text.h"

/* As host.conf takes it. */
#define WEIGHT_MAX 10000u

/* As GOption fills it. */
struct raw {
    gboolean json, no_ask_password, help, version, persist, reset;
    char *bus, *min, *max, *why, *time, *root;
    int count;
};

static void raw_clear(struct raw *r)
{
    g_free(r->bus);
    g_free(r->min);
    g_free(r->max);
    g_free(r->why);
    g_free(r->time);
    g_free(r->root);
}

static void add_common(GOptionContext *context, struct raw *r)
{
    const GOptionEntry entries[] = {
        { "json", 0, 0, G_OPTION_ARG_NONE, &r->json, "Print JSON; sizes in bytes", NULL },
        { "no-ask-password", 0, 0, G_OPTION_ARG_NONE, &r->no_ask_password,
                "Never ask for a password; refuse instead", NULL },
        { "bus", 0, 0, G_OPTION_ARG_STRING, &r->bus, "D-Bus address (default: the system bus)", "ADDRESS" },
        { "version", 0, 0, G_OPTION_ARG_NONE, &r->version, "Print the version and exit", NULL },
        { "help", 'h', 0, G_OPTION_ARG_NONE, &r->help, "Show this help, or that of a verb", NULL },
        { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
    };

    g_option_context_add_main_entries(context, entries, NULL);
}

static void add_of_verb(GOptionContext *context, struct raw *r, unsigned wanted)
{
    const struct {
        unsigned option;
        GOptionEntry entry;
    } all[] = {
        { VERB_OPTION_MIN, { "min", 0, 0, G_OPTION_ARG_STRING, &r->min, "Never unplug below this", "SIZE" } },
        { VERB_OPTION_MAX, { "max", 0, 0, G_OPTION_ARG_STRING, &r->max,
                                   "Never plug above this; 0: no bound of its own", "SIZE" } },
        { VERB_OPTION_PERSIST, { "persist", 0, 0, G_OPTION_ARG_NONE, &r->persist,
                                       "Keep it over restarts and reboots", NULL } },
        { VERB_OPTION_RESET,
                { "reset", 0, 0, G_OPTION_ARG_NONE, &r->reset,
                        "Go back to the configuration's limits and forget those that were kept", NULL } },
        { VERB_OPTION_WHY,
                { "why", 0, 0, G_OPTION_ARG_STRING, &r->why, "For the logs and for other people", "TEXT" } },
        { VERB_OPTION_COUNT, { "count", 'n', 0, G_OPTION_ARG_INT, &r->count, "How many; then end", "N" } },
        { VERB_OPTION_FOR,
                { "for", 0, 0, G_OPTION_ARG_STRING, &r->time, "Resume by itself: 90s, 10min, 2h", "TIME" } },
        { VERB_OPTION_ROOT, { "root", 0, 0, G_OPTION_ARG_FILENAME, &r->root,
                                    "Look at the files of this machine instead", "DIR" } },
    };

    for (size_t i = 0; i < ELEMENTSOF(all); i++)
        if (wanted & all[i].option)
            g_option_context_add_main_entries(
                    context, (const GOptionEntry[]){ all[i].entry, { .long_name = NULL } }, NULL);
}

static void put_verb(GString *text, const struct verb_spec *s)
{
    g_autofree char *left = g_strdup_printf("%s%s%s", s->name, *s->usage ? " " : "", s->usage);

    if (g_utf8_strlen(left, -1) > 26)
        g_string_append_printf(text, "  %s\n  %28s%s\n", left, "", s->summary);
    else
        g_string_append_printf(
                text, "  %s%*s%s\n", left, (int)(28 - g_utf8_strlen(left, -1)), "", s->summary);
}

/* first: what the verbs begin with. */
static char *help_of_all(GOptionContext *context, const char *first)
{
    g_autoptr(GString) text = g_string_new("Verbs:\n");

    for (enum verb v = 0; v < _VERB_MAX; v++) {
        if (g_str_has_prefix(verb_spec(v)->name, first))
            put_verb(text, verb_spec(v));
    }
    g_string_append(text, "\nA SIZE is 512M or 1.5G (1024 each). Without a verb: status. See vmtidectl(1).");
    g_option_context_set_summary(context, "Shows and steers how a guest's memory follows its demand.");
    g_option_context_set_description(context, text->str);
    return g_option_context_get_help(context, TRUE, NULL);
}

static char *help_of_verb(GOptionContext *context, const struct verb_spec *s)
{
    g_option_context_set_summary(context, s->summary);
    return g_option_context_get_help(context, TRUE, NULL);
}

/* Parses what stands in words, a NULL-terminated vector whose first is the program or the verb. */
static int parse_words(GOptionContext *context, char ***words, char **ret_text)
{
    g_autoptr(GError) error = NULL;

    g_option_context_set_help_enabled(context, FALSE);
    if (g_option_context_parse_strv(context, words, &error))
        return 0;
    *ret_text = g_strdup_printf("%s; see --help", error->message);
    return -EINVAL;
}

static int parse_size(const char *what, const char *text, uint64_t *ret, char **ret_text)
{
    int r = bytes_parse(text, ret);

    if (r >= 0 && *ret == UINT64_MAX)
        r = -ERANGE;
    if (r == -ERANGE)
        *ret_text = g_strdup_printf("%s %s: larger than any memory; write 512M or 1.5G", what, text);
    else if (r < 0)
        *ret_text = g_strdup_printf("%s %s: not a size; write 512M or 1.5G", what, text);
    return r < 0 ? -EINVAL : 0;
}

static int check_why(const char *why, char **ret_text)
{
    if (strlen(why) > WHY_MAX)
        *ret_text = g_strdup_printf("--why has %zu bytes; at most %u", strlen(why), WHY_MAX);
    else if (!g_utf8_validate(why, -1, NULL) || !text_is_printable(why))
        *ret_text = g_strdup("--why is text without control characters");
    else
        return 0;
    return -EINVAL;
}

static int parse_time(const char *text, uint32_t *ret, char **ret_text)
{
    /* At most as many seconds as Pause takes, and what is no time at all would be for ever. */
    const struct config_option option = { "", "for", CONFIG_USEC, 0, USEC_PER_SEC, UINT32_MAX * USEC_PER_SEC,
        NULL };
    g_autofree char *error = NULL;
    uint64_t usec = 0;

    if (config_set(&option, &usec, text, &error) < 0) {
        *ret_text = g_strdup_printf("--for %s: not a time of a second or more; write 90s, 10min or 2h", text);
        return -EINVAL;
    }
    *ret = (uint32_t)(usec / USEC_PER_SEC);
    return 0;
}

static int parse_weight(const char *text, uint32_t *ret, char **ret_text)
{
    guint64 weight = 0;

    if (!g_ascii_string_to_unsigned(text, 10, 0, WEIGHT_MAX, &weight, NULL)) {
        *ret_text = g_strdup_printf("%s: not a weight, which is 1 to %u; 0: as configured", text, WEIGHT_MAX);
        return -EINVAL;
    }
    *ret = (uint32_t)weight;
    return 0;
}

static int check_words(const struct verb_spec *s, char **words, char **ret_text)
{
    guint n = g_strv_length(words) - 1, wanted = (guint)s->vm + s->size + s->weight;

    if (n > wanted)
        *ret_text = g_strdup_printf(
                "%s: argument %s is not wanted; see vmtidectl %s --help", s->name, words[n], s->name);
    else if (s->vm && n == 0)
        *ret_text = g_strdup_printf("%s wants a VM: vmtidectl host list tells their names", s->name);
    else if (s->size && n < wanted)
        *ret_text =
                g_strdup_printf("%s wants a size: vmtidectl %s%s 512M", s->name, s->name, s->vm ? " VM" : "");
    else if (s->weight && n < wanted)
        *ret_text = g_strdup_printf("%s wants a weight: vmtidectl %s VM 200", s->name, s->name);
    else
        return 0;
    return -EINVAL;
}

/* The values of the options, once it is known that the verb takes them. */
static int take_values(
        const struct verb_spec *s, const struct raw *r, char **words, struct ctl_options *o, char **ret_text)
{
    int k = check_words(s, words, ret_text);

    if (s->options & VERB_OPTION_MIN)
        o->min = o->max = UINT64_MAX;

    if (k >= 0 && s->vm)
        o->vm = g_strdup(words[1]);
    if (k >= 0 && s->size)
        k = parse_size(s->name, words[s->vm ? 2 : 1], &o->size, ret_text);
    if (k >= 0 && s->weight)
        k = parse_weight(words[2], &o->weight, ret_text);
    if (k >= 0 && r->min)
        k = parse_size("--min", r->min, &o->min, ret_text);
    if (k >= 0 && r->max)
        k = parse_size("--max", r->max, &o->max, ret_text);
    if (k >= 0 && r->why)
        k = check_why(r->why, ret_text);
    if (k >= 0 && r->time)
        k = parse_time(r->time, &o->seconds, ret_text);
    return k;
}

/* What goes together, once each is right by itself. */
static int check_options(const struct verb_spec *s, const struct raw *r, char **ret_text)
{
    if (r->json && !(s->options & VERB_OPTION_JSON))
        *ret_text = g_strdup_printf("%s prints nothing that could be JSON", s->name);
    else if (r->reset && (r->min || r->max || r->persist))
        *ret_text = g_strdup("--reset goes with neither --min nor --max nor --persist");
    else if ((s->options & VERB_OPTION_MIN) && !r->min && !r->max && !r->reset)
        *ret_text = g_strdup_printf(
                "%s wants --min, --max or both, or --reset; both 0 take the limits away", s->name);
    else if (r->count < 0)
        *ret_text = g_strdup_printf("-n %d: a number from 1 on", r->count);
    else
        return 0;
    return -EINVAL;
}

static int parse_verb(
        const struct verb_spec *s, struct raw *r, char ***words, struct ctl_options *o, char **ret_text)
{
    g_autofree char *usage = g_strdup_printf("%s%s%s", s->name, *s->usage ? " " : "", s->usage);
    g_autoptr(GOptionContext) context = g_option_context_new(usage);
    int k;

    add_of_verb(context, r, s->options);
    add_common(context, r);
    k = parse_words(context, words, ret_text);
    if (k < 0)
        return k;
    if (r->help && o->all_of_host) {
        *ret_text = help_of_all(context, "host ");
        return 1;
    }
    if (r->help) {
        *ret_text = help_of_verb(context, s);
        return 1;
    }
    if (r->version)
        return 0;
    k = take_values(s, r, *words, o, ret_text);
    return k < 0 ? k : check_options(s, r, ret_text);
}

/* The common options, up to the verb. */
static int parse_head(struct raw *r, char ***words, char **ret_text)
{
    g_autoptr(GOptionContext) context = g_option_context_new("[VERB …]");
    int k;

    add_common(context, r);
    g_option_context_set_strict_posix(context, TRUE);
    k = parse_words(context, words, ret_text);
    if (k < 0)
        return k;
    if (r->help) {
        *ret_text = help_of_all(context, "");
        return 1;
    }
    return 0;
}

/* The words before "--", and in *ret_command those after it. */
static char **split_command(char **argv, char ***ret_command)
{
    char **words = g_strdupv(argv);

    *ret_command = NULL;
    for (guint n = 0; words[n]; n++)
        if (streq(words[n], "--")) {
            *ret_command = g_strdupv(words + n + 1);
            for (guint k = n; words[k]; k++)
                g_clear_pointer(&words[k], g_free);
            break;
        }
    return words;
}

/* "host" and what comes after it are one verb; alone it is the list. */
static void join_host(char **words, bool *ret_alone)
{
    bool alone = !words[0] || !words[1] || !words[2] || words[2][0] == '-';
    char *joined;

    if (!words[0] || !words[1] || !streq(words[1], "host"))
        return;
    joined = g_strconcat("host ", alone ? "list" : words[2], NULL);
    g_free(words[1]);
    words[1] = joined;
    *ret_alone = alone;
    if (alone)
        return;
    g_free(words[2]);
    memmove(words + 2, words + 3, (g_strv_length(words + 3) + 1) * sizeof(*words));
}

static int find_verb(const char *name, struct ctl_options *o, char **ret_text)
{
    o->verb = name ? verb_from_string(name) : VERB_STATUS;
    if (o->verb >= 0)
        return 0;
    *ret_text = g_strdup_printf("%s is no verb; see --help", name);
    return -EINVAL;
}

static int check_command(const struct verb_spec *s, const struct ctl_options *o, char **ret_text)
{
    if (!o->command || (s->command && o->command[0]))
        return 0;
    *ret_text = s->command ? g_strdup("after -- comes a command")
                           : g_strdup_printf("%s runs no command", s->name);
    return -EINVAL;
}

static int parse_all(char ***words, struct raw *r, struct ctl_options *o, char **ret_text)
{
    int k = parse_head(r, words, ret_text);

    if (k == 0)
        join_host(*words, &o->all_of_host);
    if (k == 0)
        k = find_verb((*words)[1], o, ret_text);
    if (k == 0 && (*words)[1]) {
        g_free((*words)[0]);
        memmove(*words, *words + 1, g_strv_length(*words) * sizeof(**words));
        k = parse_verb(verb_spec(o->verb), r, words, o, ret_text);
    }
    if (k == 0 && r->version) {
        *ret_text = g_strdup("vmtidectl " VMTIDE_VERSION "\n");
        return 1;
    }
    return k == 0 ? check_command(verb_spec(o->verb), o, ret_text) : k;
}

int options_parse(char **argv, struct ctl_options *ret, char **ret_text)
{
    _cleanup_(raw_clear) struct raw raw = { 0 };
    struct ctl_options o = { 0 };
    g_auto(GStrv) words = split_command(argv, &o.command);
    int r = parse_all(&words, &raw, &o, ret_text);

    if (r != 0) {
        options_clear(&o);
        return r;
    }
    o.json = raw.json;
    o.ask_password = !raw.no_ask_password;
    o.persist = raw.persist;
    o.reset = raw.reset;
    o.count = (uint32_t)raw.count;
    o.bus = TAKE_PTR(raw.bus);
    o.why = TAKE_PTR(raw.why);
    o.root = TAKE_PTR(raw.root);
    *ret = o;
    return 0;
}

void options_clear(struct ctl_options *o)
{
    g_free(o->bus);
    g_free(o->vm);
    g_free(o->why);
    g_free(o->root);
    g_strfreev(o->command);
}
