/* SPDX-License-Identifier: MIT */
#include "monitor-bus.h"

#include <systemd/sd-bus.h>

#include "log.h"
#include "names.h"

#define RECONNECT_USEC (2 * USEC_PER_SEC)

struct monitor_bus {
    sd_event *event;
    sd_event_source *reconnect;
    sd_bus *bus;
    char *address;
    struct monitor *monitor;
    struct log_repeat lost_fault;
};

static int get_string(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const struct monitor *m = ((struct monitor_bus *)userdata)->monitor;

    if (streq(property, "Mode"))
        return sd_bus_message_append(reply, "s", monitor_mode_to_string(monitor_mode(m)));
    return sd_bus_message_append(reply, "s", channel_level_to_string(monitor_level(m)));
}

static int get_bytes(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const struct monitor *m = ((struct monitor_bus *)userdata)->monitor;

    return sd_bus_message_append(
            reply, "t", streq(property, "Headroom") ? monitor_headroom(m) : monitor_available(m));
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

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("Mode", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Level", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Available", "t", get_bytes, 0, 0),
    SD_BUS_PROPERTY("Headroom", "t", get_bytes, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("PressureSome10", "u", get_some10, 0, 0),
    SD_BUS_METHOD_WITH_ARGS("Explain", SD_BUS_ARGS("u", count), SD_BUS_RESULT("aa{sv}", decisions),
            method_explain, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL_WITH_ARGS("LevelChanged", SD_BUS_ARGS("s", old_level, "s", new_level), 0),
    SD_BUS_SIGNAL_WITH_ARGS("Decided", SD_BUS_ARGS("a{sv}", decision), 0),
    SD_BUS_VTABLE_END,
};

static void on_level_changed(enum channel_level old, enum channel_level new, void *userdata)
{
    struct monitor_bus *b = userdata;

    if (!b->bus)
        return;
    (void)sd_bus_emit_signal(b->bus, MONITOR_PATH, MONITOR_INTERFACE, "LevelChanged", "ss",
            channel_level_to_string(old), channel_level_to_string(new));
    (void)sd_bus_emit_properties_changed(b->bus, MONITOR_PATH, MONITOR_INTERFACE, "Level", NULL);
}

static void on_decided(const struct monitor_note *note, void *userdata)
{
    struct monitor_bus *b = userdata;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

    if (!b->bus || sd_bus_message_new_signal(b->bus, &m, MONITOR_PATH, MONITOR_INTERFACE, "Decided") < 0)
        return;
    if (append_note(m, note) >= 0)
        (void)sd_bus_send(b->bus, m, NULL);
}

static const struct monitor_ops ops = {
    .level_changed = on_level_changed,
    .decided = on_decided,
};

static void bus_drop(struct monitor_bus *b)
{
    if (!b->bus)
        return;
    sd_bus_detach_event(b->bus);
    b->bus = sd_bus_close_unref(b->bus);
}

static void bus_retry(struct monitor_bus *b)
{
    bus_drop(b);
    (void)sd_event_source_set_time_relative(b->reconnect, RECONNECT_USEC);
    (void)sd_event_source_set_enabled(b->reconnect, SD_EVENT_ONESHOT);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    log_warning("bus: connection lost; working on, trying again every %u s",
            (unsigned)(RECONNECT_USEC / USEC_PER_SEC));
    bus_retry(userdata);
    return 0;
}

static int on_name(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const sd_bus_error *e = sd_bus_message_get_error(m);

    if (e)
        log_warning("bus: name %s not to be had: %s", MONITOR_NAME, e->message);
    return 0;
}

static int bus_start(struct monitor_bus *b)
{
    int r = sd_bus_new(&b->bus);

    if (r >= 0)
        r = sd_bus_set_address(b->bus, b->address);
    if (r >= 0)
        r = sd_bus_set_bus_client(b->bus, true);
    if (r >= 0)
        r = sd_bus_start(b->bus);
    if (r >= 0)
        r = sd_bus_attach_event(b->bus, b->event, SD_EVENT_PRIORITY_NORMAL);
    if (r >= 0)
        r = sd_bus_add_object_vtable(b->bus, NULL, MONITOR_PATH, MONITOR_INTERFACE, vtable, b);
    if (r >= 0)
        r = sd_bus_match_signal(b->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
                "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, b);
    if (r >= 0)
        r = sd_bus_request_name_async(b->bus, NULL, MONITOR_NAME, 0, on_name, b);
    return r;
}

static int on_reconnect(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct monitor_bus *b = userdata;
    int r = bus_start(b);

    if (r >= 0) {
        log_repeat_end(&b->lost_fault, LOG_INFO, "bus: connected");
        return 0;
    }
    log_repeated(&b->lost_fault, usec, LOG_WARNING, "bus: %s: %s", b->address, strerror(-r));
    bus_retry(b);
    return 0;
}

int monitor_bus_new(sd_event *event, struct monitor *m, const char *address, struct monitor_bus **ret)
{
    struct monitor_bus *b = calloc(1, sizeof(*b));
    int r;

    if (!b)
        return -ENOMEM;
    b->event = sd_event_ref(event);
    b->monitor = m;
    b->address = strdup(address ?: getenv("DBUS_SYSTEM_BUS_ADDRESS") ?: "unix:path=/run/dbus/system_bus_socket");
    r = b->address ? sd_event_add_time_relative(
                             event, &b->reconnect, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_reconnect, b)
                   : -ENOMEM;
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
    bus_drop(b);
    sd_event_source_disable_unref(b->reconnect);
    sd_event_unref(b->event);
    free(b->address);
    free(b);
    return NULL;
}

void monitor_bus_reloaded(struct monitor_bus *b)
{
    if (b->bus)
        (void)sd_bus_emit_properties_changed(
                b->bus, MONITOR_PATH, MONITOR_INTERFACE, "Mode", "Headroom", NULL);
}
