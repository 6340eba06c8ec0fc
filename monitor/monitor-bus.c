/* SPDX-License-Identifier: MIT */
#include "monitor-bus.h"

#include <sysexits.h>
#include <systemd/sd-bus.h>

#include "authorize.h"
#include "log.h"
#include "low-memory-bus.h"
#include "names.h"
#include "system-bus.h"
#include "text.h"

/* The limit of a reason, which is logged and sent to listeners. */
#define WHY_MAX 127u

struct monitor_bus {
    sd_event *event;
    struct system_bus *system;
    struct authorize *authorize;
    struct monitor *monitor;
    struct low_memory_bus low_memory;
};

static const struct authorize_rule rules[] = {
    { "Pause", "org.vmtide.pause", false },
    { "Resume", "org.vmtide.pause", false },
    { NULL, NULL, false },
};

static int get_string(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    struct monitor *m = ((struct monitor_bus *)userdata)->monitor;

    if (streq(property, "Mode"))
        return sd_bus_message_append(reply, "s", monitor_mode_to_string(monitor_mode(m)));
    if (streq(property, "PauseReason"))
        return sd_bus_message_append(reply, "s", monitor_pause(m)->reason);
    return sd_bus_message_append(reply, "s", channel_level_to_string(monitor_level(m)));
}

static int get_bytes(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    struct monitor *m = ((struct monitor_bus *)userdata)->monitor;

    if (streq(property, "Headroom"))
        return sd_bus_message_append(reply, "t", monitor_headroom(m));
    if (streq(property, "PausedUntil"))
        return sd_bus_message_append(reply, "t", monitor_pause(m)->until);
    return sd_bus_message_append(reply, "t", monitor_available(m));
}

static int get_some10(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    return sd_bus_message_append(reply, "u", monitor_some10(((struct monitor_bus *)userdata)->monitor));
}

static int append_note(sd_bus_message *r, const struct monitor_note *n)
{
    const struct decision *d = &n->decision;

    return sd_bus_message_append(r, "a{sv}", 21, "time", "t", n->realtime_usec, "action", "s",
            decide_action_to_string(d->action), "bytes", "t", d->bytes, "reason", "s",
            decide_why_to_string(d->why), "text", "s", decide_why_text(d->why), "outcome", "s", n->outcome,
            "level", "s", channel_level_to_string(d->level), "size", "t", n->size, "available", "t",
            d->available, "projected", "t", d->projected, "headroom", "t", d->headroom, "spare", "t",
            d->spare, "rate", "t", d->rate, "round-trip", "t", d->round_trip, "wait", "t", d->wait_usec,
            "pressure10", "u", d->pressure10, "pressure60", "u", d->pressure60, "avg10", "u",
            n->pressure.some.avg10, "avg60", "u", n->pressure.some.avg60, "avg300", "u",
            n->pressure.some.avg300, "refault-rate", "t", d->refault_rate);
}

static int method_explain(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const struct monitor *monitor = ((struct monitor_bus *)userdata)->monitor;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const struct monitor_note *n;
    uint32_t count;
    int r = sd_bus_message_read(m, "u", &count);

    if (r < 0)
        return r;
    r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "a{sv}");
    for (uint32_t i = 0; r >= 0 && i < count && (n = monitor_note(monitor, i)); i++)
        r = append_note(reply, n);
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int read_pause(sd_bus_message *m, const char **ret_why, uint32_t *ret_seconds, sd_bus_error *error)
{
    int r = sd_bus_message_read(m, "su", ret_why, ret_seconds);

    if (r < 0)
        return r;
    if (strlen(*ret_why) > WHY_MAX || !text_is_printable(*ret_why))
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                "why must be text of at most %u bytes without control characters", WHY_MAX);
    return 0;
}

static int check_pause(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *why;
    uint32_t seconds;

    return read_pause(m, &why, &seconds, error);
}

static int apply_pause(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct monitor_bus *b = userdata;
    const char *why;
    uint32_t seconds;
    int r = read_pause(m, &why, &seconds, error);

    if (r < 0)
        return r;
    pause_begin(monitor_pause(b->monitor), why, seconds);
    return sd_bus_reply_method_return(m, NULL);
}

static int check_nothing(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return 0;
}

static int apply_resume(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct monitor_bus *b = userdata;

    pause_end(monitor_pause(b->monitor));
    return sd_bus_reply_method_return(m, NULL);
}

/* Validate, authorise, apply. */
static int method_pause(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct monitor_bus *b = userdata;
    bool pause = streq(sd_bus_message_get_member(m), "Pause");
    int r = (pause ? check_pause : check_nothing)(m, b, error);

    if (r >= 0)
        r = sd_bus_message_rewind(m, true);
    return r < 0 ? r : authorize(b->authorize, m, NULL, pause ? apply_pause : apply_resume, b);
}

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("Mode", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Level", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Available", "t", get_bytes, 0, 0),
    SD_BUS_PROPERTY("Headroom", "t", get_bytes, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("PressureSome10", "u", get_some10, 0, 0),
    SD_BUS_PROPERTY("PausedUntil", "t", get_bytes, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("PauseReason", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_METHOD_WITH_ARGS("Pause", SD_BUS_ARGS("s", why, "u", seconds), SD_BUS_NO_RESULT, method_pause,
            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS(
            "Resume", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_pause, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Explain", SD_BUS_ARGS("u", count), SD_BUS_RESULT("aa{sv}", decisions),
            method_explain, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL_WITH_ARGS("LevelChanged", SD_BUS_ARGS("s", old_level, "s", new_level), 0),
    SD_BUS_SIGNAL_WITH_ARGS("Decided", SD_BUS_ARGS("a{sv}", decision), 0),
    SD_BUS_VTABLE_END,
};

static void on_level_changed(enum channel_level old, enum channel_level new, void *userdata)
{
    sd_bus *bus = system_bus_ready(((struct monitor_bus *)userdata)->system);

    if (!bus)
        return;
    (void)sd_bus_emit_signal(bus, MONITOR_PATH, MONITOR_INTERFACE, "LevelChanged", "ss",
            channel_level_to_string(old), channel_level_to_string(new));
    (void)sd_bus_emit_properties_changed(bus, MONITOR_PATH, MONITOR_INTERFACE, "Level", NULL);
}

static void on_decided(const struct monitor_note *note, void *userdata)
{
    sd_bus *bus = system_bus_ready(((struct monitor_bus *)userdata)->system);
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

    if (!bus || sd_bus_message_new_signal(bus, &m, MONITOR_PATH, MONITOR_INTERFACE, "Decided") < 0)
        return;
    if (append_note(m, note) >= 0)
        (void)sd_bus_send(bus, m, NULL);
}

static void on_mode_changed(void *userdata)
{
    sd_bus *bus = system_bus_ready(((struct monitor_bus *)userdata)->system);

    if (bus)
        (void)sd_bus_emit_properties_changed(
                bus, MONITOR_PATH, MONITOR_INTERFACE, "Mode", "PausedUntil", "PauseReason", NULL);
}

static void on_headroom_changed(void *userdata)
{
    sd_bus *bus = system_bus_ready(((struct monitor_bus *)userdata)->system);

    if (bus)
        (void)sd_bus_emit_properties_changed(bus, MONITOR_PATH, MONITOR_INTERFACE, "Headroom", NULL);
}

static void on_configured(void *userdata)
{
    struct monitor_bus *b = userdata;

    on_mode_changed(b);
    low_memory_bus_configure(&b->low_memory, monitor_warns_programs(b->monitor));
}

static void on_low_memory(enum low_memory_level level, const struct decision *d, void *userdata)
{
    low_memory_bus_warn(&((struct monitor_bus *)userdata)->low_memory, level, d);
}

static const struct monitor_ops ops = {
    .level_changed = on_level_changed,
    .decided = on_decided,
    .mode_changed = on_mode_changed,
    .headroom_changed = on_headroom_changed,
    .configured = on_configured,
    .low_memory = on_low_memory,
};

static int on_bus_opened(sd_bus *bus, void *userdata)
{
    struct monitor_bus *b = userdata;
    int r = sd_bus_add_object_vtable(bus, NULL, MONITOR_PATH, MONITOR_INTERFACE, vtable, b);

    if (r >= 0)
        low_memory_bus_opened(&b->low_memory, bus);
    return r;
}

static void on_bus_lost(void *userdata)
{
    struct monitor_bus *b = userdata;

    authorize_cancel(b->authorize);
    low_memory_bus_lost(&b->low_memory);
}

static void on_bus_name_gone(const char *name, void *userdata)
{
    authorize_caller_gone(((struct monitor_bus *)userdata)->authorize, name);
}

/* Two monitors would undo each other's plugs and unplugs. */
static void on_name_taken(void *userdata)
{
    struct monitor_bus *b = userdata;

    log_error(
            "another vmtide-monitor is running on this machine and owns the name " MONITOR_NAME "; exiting");
    (void)sd_event_exit(b->event, EX_TEMPFAIL);
}

static const struct system_bus_ops system_bus_ops = {
    .opened = on_bus_opened,
    .lost = on_bus_lost,
    .name_gone = on_bus_name_gone,
    .name_taken = on_name_taken,
};

int monitor_bus_new(sd_event *event, struct monitor *m, const char *address, struct monitor_bus **ret)
{
    struct monitor_bus *b = calloc(1, sizeof(*b));
    int r;

    if (!b)
        return -ENOMEM;
    b->event = sd_event_ref(event);
    b->monitor = m;
    low_memory_bus_configure(&b->low_memory, monitor_warns_programs(m));
    r = authorize_new(rules, getuid(), &b->authorize);
    if (r >= 0)
        r = system_bus_new(event, address, MONITOR_NAME, &system_bus_ops, b, &b->system);
    if (r < 0) {
        monitor_bus_free(b);
        return r;
    }
    monitor_set_ops(m, &ops, b);
    *ret = b;
    return 0;
}

struct monitor_bus *monitor_bus_free(struct monitor_bus *b)
{
    if (!b)
        return NULL;
    monitor_set_ops(b->monitor, NULL, NULL);
    authorize_free(b->authorize);
    low_memory_bus_lost(&b->low_memory);
    system_bus_free(b->system);
    sd_event_unref(b->event);
    free(b);
    return NULL;
}
