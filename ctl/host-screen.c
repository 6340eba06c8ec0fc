/* SPDX-License-Identifier: MIT */
#include "host-screen.h"

#include "bytes.h"
#include "state.h"

#define INDENT 12u
/* The columns of the list. A name that is longer takes its line's space. */
#define NAME_WIDTH 16

static const char *size_or(char buf[static BYTES_FORMAT_MAX], uint64_t bytes, const char *none)
{
    return bytes == UINT64_MAX ? none : bytes_format(buf, bytes);
}
#define SIZE_OR(v, none) size_or((char[BYTES_FORMAT_MAX]){ 0 }, (v), (none))

static enum draw_colour state_colour(const char *state)
{
    static const char *const bad[] = { "no-qemu", "no-numbers", "over-held", "stuck" };

    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        if (streq(state, bad[i]))
            return DRAW_RED;
    return streq(state, "idle") ? DRAW_GREEN : DRAW_YELLOW;
}

static enum draw_colour level_colour(const char *level)
{
    if (streq(level, "critical"))
        return DRAW_RED;
    return streq(level, "normal") || *level == '\0' ? DRAW_PLAIN : DRAW_YELLOW;
}

static uint64_t element_number(const json_t *array, size_t i)
{
    const json_t *value = json_array_get(array, i);

    return json_is_integer(value) && json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
}

static const char *element_text(const json_t *array, size_t i)
{
    return json_string_value(json_array_get(array, i)) ?: "";
}

/* "refused host-memory 5 s ago", when that is the last that happened. */
static void put_last(GString *out, const json_t *vm, const struct screen_clock *now)
{
    const json_t *grant = json_object_get(vm, "LastGrant"), *refusal = json_object_get(vm, "LastRefusal");
    uint64_t granted = element_number(grant, 0), refused = element_number(refusal, 0);

    if (granted == 0 && refused == 0)
        g_string_append_c(out, '-');
    else if (refused > granted) {
        g_string_append(out, "refused ");
        draw_text(out, element_text(refusal, 2), 12);
        g_string_append_printf(out, " %s ago", DRAW_SPAN(sub_floor(now->realtime_usec, refused)));
    } else
        g_string_append_printf(out, "granted %s ago", DRAW_SPAN(sub_floor(now->realtime_usec, granted)));
}

static void put_host(GString *out, const struct draw_style *s, const json_t *host)
{
    draw_colour(out, s, DRAW_BOLD, "Host");
    g_string_append_printf(out, "  %s of %s available, %s reserved, %s promised, pressure %s, %llu VMs\n",
            FORMAT_BYTES(state_number(host, "Available")), FORMAT_BYTES(state_number(host, "Total")),
            FORMAT_BYTES(state_number(host, "HostReserve")), FORMAT_BYTES(state_number(host, "Promised")),
            DRAW_PERMYRIAD((uint32_t)state_number(host, "Pressure10")),
            (unsigned long long)state_number(host, "VMs"));
}

static void put_row(
        GString *out, const struct draw_style *s, const json_t *vm, const struct screen_clock *now)
{
    const char *state = state_text(vm, "State"), *level = state_text(vm, "Level");
    uint64_t total = state_number(vm, "Total");
    g_autofree char *guest = total > 0 ? g_strdup_printf("%s/%s", FORMAT_BYTES(state_number(vm, "Available")),
                                                 FORMAT_BYTES(total))
                                       : g_strdup("-");
    g_autoptr(GString) name = g_string_new(NULL);

    draw_text(name, state_text(vm, "Name"), 64);
    g_string_append_printf(out, "%-*s ", NAME_WIDTH, name->str);
    draw_colour(
            out, s, state_colour(state), "%-10s", state_number(vm, "PausedUntil") > 0 ? "on-hold" : state);
    g_string_append_printf(out, " %9s %9s %9s %6llu ", FORMAT_BYTES(state_number(vm, "Size")),
            FORMAT_BYTES(state_number(vm, "RequestedSize")), SIZE_OR(state_number(vm, "MaxSize"), "-"),
            (unsigned long long)state_number(vm, "Weight"));
    draw_colour(out, s, level_colour(level), "%-8s", *level ? level : "-");
    g_string_append_printf(out, " %-15s ", guest);
    put_last(out, vm, now);
    g_string_append_c(out, '\n');
}

void host_screen_list(
        GString *out, const struct draw_style *s, const json_t *root, const struct screen_clock *now)
{
    const json_t *vms = json_object_get(root, "VMs");

    put_host(out, s, json_object_get(root, "Host1"));
    if (json_array_size(vms) == 0) {
        g_string_append(out, "no VM: host.conf or a file in host.d names them, and domains of libvirt's come "
                             "when they run "
                             "(vmtide.conf(5))\n");
        return;
    }
    draw_colour(out, s, DRAW_BOLD, "%-*s %-10s %9s %9s %9s %6s %-8s %-15s %s", NAME_WIDTH, "VM", "STATE",
            "SIZE", "REQUESTED", "MAX", "WEIGHT", "LEVEL", "AVAILABLE", "LAST");
    g_string_append_c(out, '\n');
    for (size_t i = 0; i < json_array_size(vms); i++)
        put_row(out, s, json_array_get(vms, i), now);
}

static void begin(GString *out, const struct draw_style *s, const char *name)
{
    draw_colour(out, s, DRAW_BOLD, "%-*s", (int)INDENT, name);
}

static void put_answer(GString *out, const struct draw_style *s, const char *name, const json_t *answer,
        bool refusal, const struct screen_clock *now)
{
    uint64_t when = element_number(answer, 0);

    begin(out, s, name);
    if (when == 0) {
        g_string_append(out, "none\n");
        return;
    }
    g_string_append_printf(out, "%s, %s ago", FORMAT_BYTES(element_number(answer, 1)),
            DRAW_SPAN(sub_floor(now->realtime_usec, when)));
    for (size_t i = 2; i < (refusal ? 4u : 3u); i++) {
        g_string_append(out, i == 2 ? ": " : ", ");
        draw_text(out, element_text(answer, i), 256);
    }
    g_string_append_c(out, '\n');
}

static void put_guest(GString *out, const struct draw_style *s, const json_t *vm)
{
    const char *level = state_text(vm, "Level");

    begin(out, s, "Guest");
    draw_text(out, *state_text(vm, "Agent") ? state_text(vm, "Agent") : "has not said hello", 64);
    if (*level) {
        g_string_append(out, "; ");
        draw_colour(out, s, level_colour(level), "%s", level);
        g_string_append_printf(out, ", %s of %s available", FORMAT_BYTES(state_number(vm, "Available")),
                FORMAT_BYTES(state_number(vm, "Total")));
    }
    g_string_append_c(out, '\n');
}

static void put_pause(
        GString *out, const struct draw_style *s, const json_t *vm, const struct screen_clock *now)
{
    uint64_t until = state_number(vm, "PausedUntil");

    if (until == 0)
        return;
    begin(out, s, "On hold");
    if (until == UINT64_MAX)
        g_string_append(out, "until it is resumed");
    else
        g_string_append_printf(out, "for %s more", DRAW_SPAN(sub_floor(until, now->realtime_usec)));
    if (*state_text(vm, "PauseReason")) {
        g_string_append(out, ": ");
        draw_text(out, state_text(vm, "PauseReason"), 128);
    }
    g_string_append_c(out, '\n');
}

void host_screen_vm(
        GString *out, const struct draw_style *s, const json_t *vm, const struct screen_clock *now)
{
    const char *state = state_text(vm, "State");

    begin(out, s, "VM");
    draw_text(out, state_text(vm, "Name"), 64);
    g_string_append(out, ", ");
    draw_colour(out, s, state_colour(state), "%s", state);
    g_string_append_c(out, '\n');
    put_pause(out, s, vm, now);
    begin(out, s, "Size");
    g_string_append_printf(out, "%s, requested %s, boot memory %s\n", FORMAT_BYTES(state_number(vm, "Size")),
            FORMAT_BYTES(state_number(vm, "RequestedSize")), FORMAT_BYTES(state_number(vm, "BootSize")));
    begin(out, s, "Limits");
    g_string_append_printf(out, "%s to %s, weight %llu\n", FORMAT_BYTES(state_number(vm, "MinSize")),
            SIZE_OR(state_number(vm, "MaxSize"), "what its devices can hold"),
            (unsigned long long)state_number(vm, "Weight"));
    put_guest(out, s, vm);
    begin(out, s, "QEMU");
    if (state_number(vm, "Process") > 0)
        g_string_append_printf(out, "process %llu, holds %s\n",
                (unsigned long long)state_number(vm, "Process"), FORMAT_BYTES(state_number(vm, "Held")));
    else
        g_string_append(out, "its process is not known\n");
    put_answer(out, s, "Last grant", json_object_get(vm, "LastGrant"), false, now);
    put_answer(out, s, "Refused", json_object_get(vm, "LastRefusal"), true, now);
}

json_t *host_screen_find(const json_t *root, const char *name)
{
    const json_t *vms = json_object_get(root, "VMs");

    for (size_t i = 0; i < json_array_size(vms); i++)
        if (streq(state_text(json_array_get(vms, i), "Name"), name))
            return json_array_get(vms, i);
    return NULL;
}
