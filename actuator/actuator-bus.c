/* SPDX-License-Identifier: MIT */
#include "actuator-bus.h"

#include <glib.h>

#include "actuator-bus-internal.h"
#include "log.h"
#include "names.h"
#include "service.h"

/* The monitor hears of every change at once; the bus, with whoever listens there, ten times a second at most.
 */
#define BUS_CHANGES_USEC (100 * USEC_PER_MSEC)

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const struct actuator_view *v = &((struct actuator_bus *)userdata)->view;
    const char *text = VMTIDE_VERSION;

    if (streq(property, "State"))
        text = v->state;
    else if (streq(property, "LastError"))
        text = v->last_error;
    return sd_bus_message_append(reply, "s", text);
}

#define BYTES_PROPERTY(name, field)                                                                          \
    SD_BUS_PROPERTY(                                                                                         \
            name, "t", NULL, offsetof(struct actuator_bus, view.field), SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    BYTES_PROPERTY("Size", size),
    BYTES_PROPERTY("RequestedSize", requested_size),
    BYTES_PROPERTY("BootSize", boot_size),
    BYTES_PROPERTY("MinSize", min_size),
    BYTES_PROPERTY("MaxSize", max_size),
    BYTES_PROPERTY("HostMinSize", host_min_size),
    BYTES_PROPERTY("HostMaxSize", host_max_size),
    BYTES_PROPERTY("BlockSize", block_size),
    BYTES_PROPERTY("MemoryBlockSize", memory_block_size),
    BYTES_PROPERTY("GuardHeadroom", guard_headroom),
    SD_BUS_PROPERTY("GuardHeld", "b", NULL, offsetof(struct actuator_bus, view.guard_held),
            SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    BYTES_PROPERTY("ReservedBytes", reserved_bytes),
    SD_BUS_PROPERTY("HostConnected", "b", NULL, offsetof(struct actuator_bus, view.host_connected),
            SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Version", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("LastError", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_METHOD_WITH_ARGS("Plug", SD_BUS_ARGS("t", bytes, "s", reason), SD_BUS_RESULT("t", requested_size),
            methods_handle, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Unplug", SD_BUS_ARGS("t", bytes, "s", reason),
            SD_BUS_RESULT("t", requested_size), methods_handle, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("OpenPressureTrigger", SD_BUS_ARGS("s", kind, "t", stall_usec, "t", window_usec),
            SD_BUS_RESULT("h", trigger), methods_handle, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Reclaim", SD_BUS_ARGS("t", bytes), SD_BUS_RESULT("t", reclaimed), methods_handle,
            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ArmGuard", SD_BUS_ARGS("t", headroom), SD_BUS_NO_RESULT, methods_handle,
            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Report", SD_BUS_ARGS("t", available, "t", total, "u", some10, "s", level),
            SD_BUS_NO_RESULT, methods_handle, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("DeclineShrink", SD_BUS_ARGS("t", id, "s", code), SD_BUS_NO_RESULT,
            methods_handle, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetLimits", SD_BUS_ARGS("t", min_size, "t", max_size, "b", persist),
            SD_BUS_NO_RESULT, methods_handle, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Reserve", SD_BUS_ARGS("t", bytes, "s", who, "s", why),
            SD_BUS_RESULT("h", reservation), methods_handle, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ListReservations", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(tssut)", reservations),
            methods_handle, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL_WITH_ARGS("SizeChanged", SD_BUS_ARGS("t", old_size, "t", new_size, "s", reason), 0),
    SD_BUS_SIGNAL_WITH_ARGS(
            "RequestRefused", SD_BUS_ARGS("s", verb, "t", bytes, "s", error_name, "s", text), 0),
    SD_BUS_SIGNAL_WITH_ARGS("ShrinkRequested", SD_BUS_ARGS("t", id, "t", size, "s", reason), 0),
    SD_BUS_SIGNAL_WITH_ARGS("RoomAvailable", SD_BUS_NO_ARGS, 0),
    SD_BUS_VTABLE_END,
};

static void emit_properties(sd_bus *bus, void *userdata)
{
    (void)sd_bus_emit_properties_changed_strv(bus, ACTUATOR_PATH, ACTUATOR_INTERFACE, userdata);
}

/* One name for each, with room for the NULL at the end. */
#define CHANGES_MAX 17u

/* The names of the properties in which two views differ. */
static size_t find_changes(const struct actuator_view *a, const struct actuator_view *b,
        const char *ret_names[static CHANGES_MAX])
{
    static const struct {
        const char *name;
        size_t offset;
        size_t size;
    } properties[CHANGES_MAX - 1] = {
#define MEMBER(name, field) { name, offsetof(struct actuator_view, field), sizeof(a->field) }
        MEMBER("Size", size),
        MEMBER("RequestedSize", requested_size),
        MEMBER("BootSize", boot_size),
        MEMBER("MinSize", min_size),
        MEMBER("MaxSize", max_size),
        MEMBER("HostMinSize", host_min_size),
        MEMBER("HostMaxSize", host_max_size),
        MEMBER("BlockSize", block_size),
        MEMBER("MemoryBlockSize", memory_block_size),
        MEMBER("GuardHeadroom", guard_headroom),
        MEMBER("GuardHeld", guard_held),
        MEMBER("ReservedBytes", reserved_bytes),
        MEMBER("HostConnected", host_connected),
        MEMBER("State", state),
        MEMBER("LastError", last_error),
#undef MEMBER
    };
    size_t n = 0;

    for (size_t i = 0; i < ELEMENTSOF(properties) && properties[i].name; i++)
        if (memcmp((const char *)a + properties[i].offset, (const char *)b + properties[i].offset,
                    properties[i].size) != 0)
            ret_names[n++] = properties[i].name;
    ret_names[n] = NULL;
    return n;
}

/* What has changed since the bus was told last, now or when it is time. */
static void tell_bus(struct actuator_bus *b)
{
    const char *names[CHANGES_MAX];
    uint64_t now = now_usec();
    sd_bus *bus = system_bus_ready(b->system);

    if (!bus)
        return;
    if (now < b->told_at + BUS_CHANGES_USEC) {
        (void)sd_event_source_set_time(b->changes_timer, b->told_at + BUS_CHANGES_USEC);
        (void)sd_event_source_set_enabled(b->changes_timer, SD_EVENT_ONESHOT);
        return;
    }
    if (find_changes(&b->told, &b->view, names) == 0)
        return;
    b->told = b->view;
    b->told_at = now;
    emit_properties(bus, names);
}

static int on_changes_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    tell_bus(userdata);
    return 0;
}

static void on_changed(const struct actuator_view *v, void *userdata)
{
    struct actuator_bus *b = userdata;
    const char *names[CHANGES_MAX];
    size_t n = find_changes(&b->view, v, names);

    if (n == 0)
        return;
    b->view = *v;
    if (b->reserve)
        reserve_follow(b->reserve, v);
    peers_each(b->peers, emit_properties, names);
    tell_bus(b);
}

struct signal {
    const char *member;
    const char *types;
    uint64_t numbers[2];
    const char *texts[3];
};

static void emit_signal(sd_bus *bus, void *userdata)
{
    const struct signal *s = userdata;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    size_t number = 0, text = 0;
    int r = sd_bus_message_new_signal(bus, &m, ACTUATOR_PATH, ACTUATOR_INTERFACE, s->member);

    for (const char *t = s->types; r >= 0 && *t != '\0'; t++)
        r = *t == 't' ? sd_bus_message_append(m, "t", s->numbers[number++])
                      : sd_bus_message_append(m, "s", s->texts[text++]);
    if (r >= 0)
        (void)sd_bus_send(bus, m, NULL);
}

static void emit_everywhere(struct actuator_bus *b, struct signal *s)
{
    sd_bus *bus = system_bus_ready(b->system);

    peers_each(b->peers, emit_signal, s);
    if (bus)
        emit_signal(bus, s);
}

static void on_size_changed(uint64_t old, uint64_t new, const char *reason, void *userdata)
{
    emit_everywhere(userdata, &(struct signal){ "SizeChanged", "tts", { old, new }, { reason } });
}

static void on_refused(const char *verb, uint64_t bytes, const char *error, const char *text, void *userdata)
{
    emit_everywhere(userdata, &(struct signal){ "RequestRefused", "stss", { bytes }, { verb, error, text } });
}

static void on_shrink_requested(uint64_t id, uint64_t size, const char *reason, void *userdata)
{
    emit_everywhere(userdata, &(struct signal){ "ShrinkRequested", "tts", { id, size }, { reason } });
}

static void on_room(void *userdata)
{
    emit_everywhere(userdata, &(struct signal){ "RoomAvailable", "", { 0 }, { NULL } });
}

static const struct actuator_ops actuator_ops = {
    .changed = on_changed,
    .size_changed = on_size_changed,
    .refused = on_refused,
    .shrink_requested = on_shrink_requested,
    .room = on_room,
};

static int on_peer_added(sd_bus *bus, void *userdata)
{
    return sd_bus_add_object_vtable(bus, NULL, ACTUATOR_PATH, ACTUATOR_INTERFACE, vtable, userdata);
}

static void on_peer_gone(sd_bus *bus, void *userdata)
{
    struct actuator_bus *b = userdata;
    char name[CALLERS_NAME_MAX];

    (void)snprintf(name, sizeof(name), "private %p", (void *)bus);
    callers_forget(&b->callers, name);
    actuator_caller_gone(b->actuator, name);
}

static const struct peers_ops peers_ops = {
    .added = on_peer_added,
    .gone = on_peer_gone,
};

static int on_bus_opened(sd_bus *bus, void *userdata)
{
    struct actuator_bus *b = userdata;

    b->told = b->view;
    return sd_bus_add_object_vtable(bus, NULL, ACTUATOR_PATH, ACTUATOR_INTERFACE, vtable, b);
}

/* Unique names begin with a colon, and mean somebody else after the next connect. */
static void on_bus_lost(void *userdata)
{
    struct actuator_bus *b = userdata;

    authorize_cancel(b->authorize);
    callers_forget_prefix(&b->callers, ":");
    actuator_caller_gone(b->actuator, ":");
}

static void on_bus_name_gone(const char *name, void *userdata)
{
    struct actuator_bus *b = userdata;

    callers_forget(&b->callers, name);
    authorize_caller_gone(b->authorize, name);
    actuator_caller_gone(b->actuator, name);
}

static const struct system_bus_ops system_bus_ops = {
    .opened = on_bus_opened,
    .lost = on_bus_lost,
    .name_gone = on_bus_name_gone,
};

/* The connections are flushed and closed by handlers of their own, after this one. */
static int on_exit_loop(sd_event_source *source, void *userdata)
{
    struct actuator_bus *b = userdata;

    actuator_give_up(b->actuator, "the actuator is being stopped");
    reclaim_worker_give_up(b->reclaim);
    return 0;
}

int actuator_bus_new(
        sd_event *event, struct actuator *a, const struct actuator_bus_options *o, struct actuator_bus **ret)
{
    struct actuator_bus *b = calloc(1, sizeof(*b));
    int r;

    if (!b)
        return -ENOMEM;
    b->actuator = a;
    b->monitor_uid = o->monitor_uid;
    b->procfs = g_strdup(o->procfs);
    r = authorize_new(methods_rules, o->monitor_uid, &b->authorize);
    if (r >= 0)
        r = reclaim_worker_new(event, o->cgroupfs, o->procfs, &b->reclaim);
    if (r >= 0)
        r = peers_new(event, o->socket, o->monitor_uid, o->monitor_gid, &peers_ops, b, &b->peers);
    if (r < 0)
        log_error("private socket %s: %s", o->socket, strerror(-r));
    if (r >= 0)
        r = sd_event_add_time(
                event, &b->changes_timer, CLOCK_MONOTONIC, 0, 10 * USEC_PER_MSEC, on_changes_timer, b);
    if (r >= 0)
        r = sd_event_add_exit(event, &b->exit, on_exit_loop, b);
    if (r >= 0)
        r = sd_event_source_set_priority(b->exit, SD_EVENT_PRIORITY_IMPORTANT);
    if (r >= 0)
        r = system_bus_new(event, o->address, ACTUATOR_NAME, &system_bus_ops, b, &b->system);
    if (r < 0) {
        actuator_bus_free(b);
        return r;
    }
    actuator_set_ops(a, &actuator_ops, b);
    r = reserve_new(event, a, o->procfs, o->reservations_saved, &b->reserve);
    if (r < 0) {
        actuator_bus_free(b);
        return r;
    }
    reserve_follow(b->reserve, &b->view);
    *ret = b;
    return 0;
}

struct actuator_bus *actuator_bus_free(struct actuator_bus *b)
{
    if (!b)
        return NULL;
    actuator_give_up(b->actuator, "the actuator is being stopped");
    actuator_set_ops(b->actuator, NULL, NULL);
    reserve_free(b->reserve);
    reclaim_worker_free(b->reclaim);
    authorize_free(b->authorize);
    peers_free(b->peers);
    system_bus_free(b->system);
    sd_event_source_disable_unref(b->exit);
    sd_event_source_disable_unref(b->changes_timer);
    g_free(b->procfs);
    free(b);
    return NULL;
}
