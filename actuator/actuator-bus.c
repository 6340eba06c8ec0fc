/* SPDX-License-Identifier: MIT */
#include "actuator-bus.h"

#include <glib.h>
#include <systemd/sd-bus.h>

#include "authorize.h"
#include "log.h"
#include "names.h"
#include "peers.h"
#include "service.h"
#include "trigger.h"

#define RECONNECT_USEC (2 * USEC_PER_SEC)

/* The kernel does not tell when a trigger that was passed on is closed, so they are counted for each caller
 * until it leaves; a caller that starts again is another one. */
#define TRIGGERS_PER_CALLER 4u
#define CALLERS_MAX 16u

struct caller {
    char *name; /* unique name, or the address of a private connection */
    unsigned triggers;
};

struct actuator_bus {
    sd_event *event;
    sd_event_source *reconnect;
    sd_bus *bus;
    char *address;
    char *procfs;
    struct peers *peers;
    struct authorize *authorize;
    struct actuator *actuator;
    struct actuator_view view; /* what listeners were told last */
    struct caller callers[CALLERS_MAX];
    struct log_repeat lost_fault;
};

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

/* The caller as an error of the bus wants it; the message was answered when this returns > 0. */
static void on_done(uint64_t requested_size, const char *error, const char *text, void *userdata)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = userdata;

    if (error)
        (void)sd_bus_reply_method_errorf(m, error, "%s", text);
    else
        (void)sd_bus_reply_method_return(m, "t", requested_size);
}

static bool reason_is_good(const char *reason)
{
    size_t len = strlen(reason);

    if (len > ACTUATOR_REASON_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)reason[i] < ' ' || reason[i] == 0x7f)
            return false;
    return true;
}

static int apply_resize(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_bus *b = userdata;
    bool plug = streq(sd_bus_message_get_member(m), "Plug");
    uint64_t bytes;
    const char *reason;
    int r = sd_bus_message_read(m, "ts", &bytes, &reason);

    if (r < 0)
        return r;
    if (!reason_is_good(reason))
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                "the reason is %zu bytes long or has control characters; at most %u bytes of text",
                strlen(reason), ACTUATOR_REASON_MAX);
    actuator_request(
            b->actuator, plug ? LIMITS_PLUG : LIMITS_UNPLUG, bytes, reason, on_done, sd_bus_message_ref(m));
    return 1;
}

static struct caller *find_caller(struct actuator_bus *b, const char *name, bool add)
{
    struct caller *empty = NULL;

    for (size_t i = 0; i < CALLERS_MAX; i++) {
        if (b->callers[i].name && streq(b->callers[i].name, name))
            return &b->callers[i];
        if (!b->callers[i].name && !empty)
            empty = &b->callers[i];
    }
    if (!add || !empty)
        return NULL;
    *empty = (struct caller){ .name = g_strdup(name) };
    return empty;
}

static void forget_caller(struct actuator_bus *b, const char *name)
{
    struct caller *c = find_caller(b, name, false);

    if (!c)
        return;
    g_free(c->name);
    *c = (struct caller){ 0 };
}

static void caller_name(sd_bus_message *m, char buf[static 64])
{
    const char *sender = sd_bus_message_get_sender(m);

    if (sender)
        (void)snprintf(buf, 64, "%s", sender);
    else
        (void)snprintf(buf, 64, "private %p", (void *)sd_bus_message_get_bus(m));
}

static int trigger_error(int r, sd_bus_error *error, uint64_t stall, uint64_t window)
{
    if (r == -EOPNOTSUPP || r == -ENOENT)
        return sd_bus_error_setf(
                error, SD_BUS_ERROR_NOT_SUPPORTED, "this kernel has no pressure information (psi=1?)");
    return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
            "stall %" G_GUINT64_FORMAT " us in window %" G_GUINT64_FORMAT
            " us: %s; 0 < stall <= window, window 50 ms to 10 s, up "
            "to Linux 6.4 at least 500 ms, without CAP_SYS_RESOURCE multiples of 2 s",
            stall, window, strerror(-r));
}

static int apply_trigger(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_bus *b = userdata;
    _cleanup_close_ int fd = -EBADF;
    uint64_t stall, window;
    char name[64];
    const char *kind;
    struct caller *c;
    int r = sd_bus_message_read(m, "stt", &kind, &stall, &window);

    if (r < 0)
        return r;
    caller_name(m, name);
    c = find_caller(b, name, true);
    if (!c || c->triggers >= TRIGGERS_PER_CALLER)
        return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED, "at most %u triggers for each of %u callers",
                TRIGGERS_PER_CALLER, CALLERS_MAX);
    r = trigger_open(b->procfs, kind, stall, window, &fd);
    if (r < 0)
        return trigger_error(r, error, stall, window);
    c->triggers++;
    return sd_bus_reply_method_return(m, "h", fd);
}

static int apply_report(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_bus *b = userdata;
    uint64_t available, total;
    uint32_t some10;
    const char *level;
    int r = sd_bus_message_read(m, "ttus", &available, &total, &some10, &level);

    if (r < 0)
        return r;
    if (channel_level_from_string(level) < 0 || some10 > PERMYRIAD_ONE || available > INT64_MAX ||
            total > INT64_MAX)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                "level %s, some10 %u: the level is normal, rising, critical or settling, some10 at most %u",
                level, some10, PERMYRIAD_ONE);
    /* Without a host there is nobody to tell, which is no error of the caller's. */
    r = actuator_report(b->actuator, available, total, some10, channel_level_from_string(level));
    if (r == -EBUSY)
        return sd_bus_error_setf(error, ERROR_RATE_LIMITED, "reports come too fast");
    return sd_bus_reply_method_return(m, NULL);
}

static int apply_decline(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_bus *b = userdata;
    uint64_t id;
    const char *code;
    int r = sd_bus_message_read(m, "ts", &id, &code);

    if (r < 0)
        return r;
    if (channel_code_from_string(code) < 0)
        return sd_bus_error_setf(
                error, SD_BUS_ERROR_INVALID_ARGS, "code %s: one of in-use, busy, paused", code);
    if (actuator_decline_shrink(b->actuator, id, channel_code_from_string(code)) == -ENOENT)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                "the host does not wait for an answer to shrink %" G_GUINT64_FORMAT, id);
    return sd_bus_reply_method_return(m, NULL);
}

/* parse → authorise → apply; arguments' types were checked by the vtable before. */
static int method_any(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    static const struct {
        const char *member;
        sd_bus_message_handler_t apply;
    } methods[] = {
        { "Plug", apply_resize },
        { "Unplug", apply_resize },
        { "OpenPressureTrigger", apply_trigger },
        { "Report", apply_report },
        { "DeclineShrink", apply_decline },
    };
    struct actuator_bus *b = userdata;
    uid_t uid;
    const uid_t *known = peers_uid(b->peers, sd_bus_message_get_bus(m), &uid) >= 0 ? &uid : NULL;

    for (size_t i = 0; i < ELEMENTSOF(methods); i++)
        if (streq(methods[i].member, sd_bus_message_get_member(m)))
            return authorize(b->authorize, m, known, methods[i].apply, b);
    return -EBADMSG;
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
    BYTES_PROPERTY("ReservedBytes", reserved_bytes),
    SD_BUS_PROPERTY("HostConnected", "b", NULL, offsetof(struct actuator_bus, view.host_connected),
            SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Version", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("LastError", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_METHOD_WITH_ARGS("Plug", SD_BUS_ARGS("t", bytes, "s", reason), SD_BUS_RESULT("t", requested_size),
            method_any, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Unplug", SD_BUS_ARGS("t", bytes, "s", reason),
            SD_BUS_RESULT("t", requested_size), method_any, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("OpenPressureTrigger", SD_BUS_ARGS("s", kind, "t", stall_usec, "t", window_usec),
            SD_BUS_RESULT("h", trigger), method_any, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Report", SD_BUS_ARGS("t", available, "t", total, "u", some10, "s", level),
            SD_BUS_NO_RESULT, method_any, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("DeclineShrink", SD_BUS_ARGS("t", id, "s", code), SD_BUS_NO_RESULT, method_any,
            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL_WITH_ARGS("SizeChanged", SD_BUS_ARGS("t", old_size, "t", new_size, "s", reason), 0),
    SD_BUS_SIGNAL_WITH_ARGS(
            "RequestRefused", SD_BUS_ARGS("s", verb, "t", bytes, "s", error_name, "s", text), 0),
    SD_BUS_SIGNAL_WITH_ARGS("ShrinkRequested", SD_BUS_ARGS("t", id, "t", size, "s", reason), 0),
    SD_BUS_SIGNAL_WITH_ARGS("RoomAvailable", SD_BUS_NO_ARGS, 0),
    SD_BUS_VTABLE_END,
};

static void each_bus(struct actuator_bus *b, void (*fn)(sd_bus *bus, void *userdata), void *userdata)
{
    peers_each(b->peers, fn, userdata);
    if (b->bus && sd_bus_is_ready(b->bus) > 0)
        fn(b->bus, userdata);
}

static void emit_properties(sd_bus *bus, void *userdata)
{
    (void)sd_bus_emit_properties_changed_strv(bus, ACTUATOR_PATH, ACTUATOR_INTERFACE, userdata);
}

static void on_changed(const struct actuator_view *v, void *userdata)
{
    static const struct {
        const char *name;
        size_t offset;
        size_t size;
    } properties[] = {
#define MEMBER(name, field)                                                                                  \
    { name, offsetof(struct actuator_view, field), sizeof(((struct actuator_view *)NULL)->field) }
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
        MEMBER("ReservedBytes", reserved_bytes),
        MEMBER("HostConnected", host_connected),
        MEMBER("State", state),
        MEMBER("LastError", last_error),
#undef MEMBER
    };
    struct actuator_bus *b = userdata;
    const char *names[ELEMENTSOF(properties) + 1] = { NULL };
    size_t n = 0;

    for (size_t i = 0; i < ELEMENTSOF(properties); i++)
        if (memcmp((const char *)v + properties[i].offset, (const char *)&b->view + properties[i].offset,
                    properties[i].size) != 0)
            names[n++] = properties[i].name;
    b->view = *v;
    if (n > 0)
        each_bus(b, emit_properties, names);
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

static void on_size_changed(uint64_t old, uint64_t new, const char *reason, void *userdata)
{
    each_bus(userdata, emit_signal, &(struct signal){ "SizeChanged", "tts", { old, new }, { reason } });
}

static void on_refused(const char *verb, uint64_t bytes, const char *error, const char *text, void *userdata)
{
    each_bus(userdata, emit_signal,
            &(struct signal){ "RequestRefused", "stss", { bytes }, { verb, error, text } });
}

static void on_shrink_requested(uint64_t id, uint64_t size, const char *reason, void *userdata)
{
    each_bus(userdata, emit_signal, &(struct signal){ "ShrinkRequested", "tts", { id, size }, { reason } });
}

static void on_room(void *userdata)
{
    each_bus(userdata, emit_signal, &(struct signal){ "RoomAvailable", "", { 0 }, { NULL } });
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
    char name[64];

    (void)snprintf(name, sizeof(name), "private %p", (void *)bus);
    forget_caller(userdata, name);
}

static const struct peers_ops peers_ops = {
    .added = on_peer_added,
    .gone = on_peer_gone,
};

static void bus_retry(struct actuator_bus *b)
{
    authorize_cancel(b->authorize);
    if (b->bus) {
        sd_bus_detach_event(b->bus);
        b->bus = sd_bus_close_unref(b->bus);
    }
    (void)sd_event_source_set_time_relative(b->reconnect, RECONNECT_USEC);
    (void)sd_event_source_set_enabled(b->reconnect, SD_EVENT_ONESHOT);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    log_warning("bus: connection lost; the private socket works on, trying again every %u s",
            (unsigned)(RECONNECT_USEC / USEC_PER_SEC));
    bus_retry(userdata);
    return 0;
}

static int on_name_gone(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *name, *old, *new;

    if (sd_bus_message_read(m, "sss", &name, &old, &new) >= 0 && *new == '\0')
        forget_caller(userdata, name);
    return 0;
}

static int on_name(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const sd_bus_error *e = sd_bus_message_get_error(m);

    if (e)
        log_warning("bus: name %s not to be had: %s", ACTUATOR_NAME, e->message);
    return 0;
}

static int bus_start(struct actuator_bus *b)
{
    int r = sd_bus_new(&b->bus);

    if (r >= 0)
        r = sd_bus_set_address(b->bus, b->address);
    if (r >= 0)
        r = sd_bus_set_bus_client(b->bus, true);
    if (r >= 0)
        r = sd_bus_negotiate_fds(b->bus, true);
    if (r >= 0)
        r = sd_bus_start(b->bus);
    if (r >= 0)
        r = sd_bus_attach_event(b->bus, b->event, SD_EVENT_PRIORITY_NORMAL);
    if (r >= 0)
        r = sd_bus_add_object_vtable(b->bus, NULL, ACTUATOR_PATH, ACTUATOR_INTERFACE, vtable, b);
    if (r >= 0)
        r = sd_bus_match_signal(b->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
                "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, b);
    /* Only of names that have no owner any more (arg2 is empty), so that nobody's coming wakes us. */
    if (r >= 0)
        r = sd_bus_add_match_async(b->bus, NULL,
                "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
                "member='NameOwnerChanged',arg2=''",
                on_name_gone, NULL, b);
    if (r >= 0)
        r = sd_bus_request_name_async(b->bus, NULL, ACTUATOR_NAME, 0, on_name, b);
    return r;
}

static int on_reconnect(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct actuator_bus *b = userdata;
    int r = bus_start(b);

    if (r >= 0) {
        log_repeat_end(&b->lost_fault, LOG_INFO, "bus: connected");
        return 0;
    }
    log_repeated(&b->lost_fault, usec, LOG_WARNING, "bus: %s: %s", b->address, strerror(-r));
    bus_retry(b);
    return 0;
}

int actuator_bus_new(
        sd_event *event, struct actuator *a, const struct actuator_bus_options *o, struct actuator_bus **ret)
{
    struct actuator_bus *b = calloc(1, sizeof(*b));
    int r;

    if (!b)
        return -ENOMEM;
    b->event = sd_event_ref(event);
    b->actuator = a;
    b->procfs = g_strdup(o->procfs);
    b->address = g_strdup(o->address ?: getenv("DBUS_SYSTEM_BUS_ADDRESS") ?: "unix:path=/run/dbus/system_bus_socket");
    r = authorize_new(o->monitor_uid, &b->authorize);
    if (r >= 0)
        r = peers_new(event, o->socket, o->monitor_uid, o->monitor_gid, &peers_ops, b, &b->peers);
    if (r < 0)
        log_error("private socket %s: %s", o->socket, strerror(-r));
    if (r >= 0)
        r = sd_event_add_time_relative(
                event, &b->reconnect, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_reconnect, b);
    if (r < 0) {
        actuator_bus_free(b);
        return r;
    }
    actuator_set_ops(a, &actuator_ops, b);
    *ret = b;
    return 0;
}

struct actuator_bus *actuator_bus_free(struct actuator_bus *b)
{
    if (!b)
        return NULL;
    actuator_set_ops(b->actuator, NULL, NULL);
    authorize_free(b->authorize);
    peers_free(b->peers);
    if (b->bus) {
        sd_bus_detach_event(b->bus);
        sd_bus_close_unref(b->bus);
    }
    for (size_t i = 0; i < CALLERS_MAX; i++)
        g_free(b->callers[i].name);
    sd_event_source_disable_unref(b->reconnect);
    sd_event_unref(b->event);
    g_free(b->address);
    g_free(b->procfs);
    free(b);
    return NULL;
}
