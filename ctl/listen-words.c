/* SPDX-License-Identifier: MIT */
#include "listen.h"

#include "bytes.h"
#include "draw.h"
#include "state.h"

#define TEXT_COLUMNS 200u

static uint64_t number_at(const json_t *arguments, size_t i)
{
    const json_t *value = json_array_get(arguments, i);

    return json_is_integer(value) ? (uint64_t)json_integer_value(value) : 0;
}

static void text_at(GString *out, const json_t *arguments, size_t i)
{
    draw_text(out, json_string_value(json_array_get(arguments, i)) ?: "", TEXT_COLUMNS);
}

static void size_changed(GString *out, const json_t *a)
{
    g_string_append_printf(
            out, "size %s to %s (", FORMAT_BYTES(number_at(a, 0)), FORMAT_BYTES(number_at(a, 1)));
    text_at(out, a, 2);
    g_string_append_c(out, ')');
}

static void request_refused(GString *out, const json_t *a)
{
    text_at(out, a, 0);
    g_string_append_printf(out, " %s refused: ", FORMAT_BYTES(number_at(a, 1)));
    text_at(out, a, 3);
}

static void shrink_requested(GString *out, const json_t *a)
{
    g_string_append_printf(out, "the host asks to give back down to %s (", FORMAT_BYTES(number_at(a, 1)));
    text_at(out, a, 2);
    g_string_append_c(out, ')');
}

static void room_available(GString *out, const json_t *a)
{
    g_string_append(out, "the host has room again");
}

static void level_changed(GString *out, const json_t *a)
{
    g_string_append(out, "level ");
    text_at(out, a, 0);
    g_string_append(out, " to ");
    text_at(out, a, 1);
}

static void decided(GString *out, const json_t *a)
{
    const json_t *d = json_array_get(a, 0);
    uint64_t bytes = state_number(d, "bytes");

    draw_text(out, state_text(d, "action"), TEXT_COLUMNS);
    if (bytes > 0)
        g_string_append_printf(out, " %s", FORMAT_BYTES(bytes));
    g_string_append(out, ": ");
    draw_text(out, state_text(d, "text"), TEXT_COLUMNS);
}

static void value_words(GString *out, const json_t *value)
{
    g_autofree char *text = NULL;

    if (json_is_string(value)) {
        draw_text(out, json_string_value(value), TEXT_COLUMNS);
        return;
    }
    text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    g_string_append(out, text ?: "?");
}

static void properties_changed(GString *out, const json_t *a)
{
    const char *key, *separator = "";
    json_t *value;

    json_object_foreach(json_array_get(a, 1), key, value)
    {
        g_string_append_printf(out, "%s%s=", separator, key);
        value_words(out, value);
        separator = " ";
    }
}

void listen_describe(GString *out, const char *member, const json_t *arguments)
{
    static const struct {
        const char *member;
        void (*words)(GString *out, const json_t *arguments);
    } known[] = {
        { "SizeChanged", size_changed },
        { "RequestRefused", request_refused },
        { "ShrinkRequested", shrink_requested },
        { "RoomAvailable", room_available },
        { "LevelChanged", level_changed },
        { "Decided", decided },
        { "PropertiesChanged", properties_changed },
    };

    for (size_t i = 0; i < ELEMENTSOF(known); i++)
        if (streq(known[i].member, member)) {
            known[i].words(out, arguments);
            return;
        }
    value_words(out, arguments);
}
