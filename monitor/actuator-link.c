/* SPDX-License-Identifier: MIT */
#include "actuator-link.h"

#include <fcntl.h>

#include "actuator-view.h"
#include "log.h"
#include "names.h"

/* The actuator times out its host after 5 s. After a longer time the actuator itself must hang. */
#define CALL_TIMEOUT_USEC (8 * USEC_PER_SEC)
#define RECONNECT_USEC (500 * USEC_PER_MSEC)

struct actuator_link {
    sd_event *event;
    sd_event_source *reconnect;
    sd_bus *bus;
    char *address;
    const struct actuator_link_ops *ops;
    void *userdata;
    struct actuator_view view;
    bool resizing;
    bool reclaiming;
    bool loss_logged;
};

static int link_connect(struct actuator_link *l);

static int on_reconnect_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct actuator_link *l = userdata;

    if (link_connect(l) < 0)
        return sd_event_source_set_time_relative(source, RECONNECT_USEC) < 0
                       ? -EIO
                       : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return 0;
}

static void link_lost(struct actuator_link *l)
{
    bool resizing = l->resizing, reclaiming = l->reclaiming;

    if (l->bus) {
        sd_bus_detach_event(l->bus);
        l->bus = sd_bus_close_unref(l->bus);
    }
    l->view = (struct actuator_view){ 0 };
    l->resizing = l->reclaiming = false;
    if (!l->loss_logged)
        log_warning("actuator: no connection to %s, retrying every %u ms", l->address,
                (unsigned)(RECONNECT_USEC / USEC_PER_MSEC));
    l->loss_logged = true;
    if (resizing)
        l->ops->answered(0, SD_BUS_ERROR_DISCONNECTED, "the actuator has disconnected", l->userdata);
    if (reclaiming)
        l->ops->reclaimed(0, SD_BUS_ERROR_DISCONNECTED, l->userdata);
    l->ops->lost(l->userdata);
    (void)sd_event_source_set_time_relative(l->reconnect, RECONNECT_USEC);
    (void)sd_event_source_set_enabled(l->reconnect, SD_EVENT_ONESHOT);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    link_lost(userdata);
    return 0;
}

static void publish_view(struct actuator_link *l)
{
    l->view.connected = l->view.host_connected && l->view.block_size > 0;
    l->ops->changed(l->userdata);
}

static int on_properties(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_link *l = userdata;
    struct actuator_view v = l->view;
    const char *interface;

    if (sd_bus_message_read(m, "s", &interface) < 0 || !streq(interface, ACTUATOR_INTERFACE) ||
            actuator_view_read(&v, m) < 0)
        return 0;
    l->view = v;
    publish_view(l);
    return 0;
}

static int on_get_all(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_link *l = userdata;
    struct actuator_view v = { 0 };
    int r;

    if (sd_bus_message_is_method_error(m, NULL)) {
        log_warning("actuator: cannot get its properties: %s", sd_bus_message_get_error(m)->message);
        link_lost(l);
        return 0;
    }
    r = actuator_view_read(&v, m);
    if (r < 0) {
        log_warning("actuator: invalid properties: %s", strerror(-r));
        return 0;
    }
    l->view = v;
    if (l->loss_logged)
        log_info("actuator: connected");
    l->loss_logged = false;
    l->ops->connected(l->userdata);
    publish_view(l);
    return 0;
}

static int on_size_changed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_link *l = userdata;
    uint64_t old, size;
    const char *reason;

    if (sd_bus_message_read(m, "tts", &old, &size, &reason) < 0)
        return 0;
    l->view.size = size;
    l->ops->changed(l->userdata);
    return 0;
}

static int on_shrink_requested(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_link *l = userdata;
    uint64_t id, size;
    const char *reason;

    if (sd_bus_message_read(m, "tts", &id, &size, &reason) >= 0)
        l->ops->shrink_requested(id, size, reason, l->userdata);
    return 0;
}

static int on_room(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_link *l = userdata;

    l->ops->room(l->userdata);
    return 0;
}

static int link_add_matches(struct actuator_link *l)
{
    static const struct {
        const char *path;
        const char *interface;
        const char *member;
        sd_bus_message_handler_t handler;
    } matches[] = {
        { "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local", "Disconnected", on_disconnected },
        { ACTUATOR_PATH, "org.freedesktop.DBus.Properties", "PropertiesChanged", on_properties },
        { ACTUATOR_PATH, ACTUATOR_INTERFACE, "SizeChanged", on_size_changed },
        { ACTUATOR_PATH, ACTUATOR_INTERFACE, "ShrinkRequested", on_shrink_requested },
        { ACTUATOR_PATH, ACTUATOR_INTERFACE, "RoomAvailable", on_room },
    };

    for (size_t i = 0; i < ELEMENTSOF(matches); i++) {
        int r = sd_bus_match_signal(l->bus, NULL, NULL, matches[i].path, matches[i].interface,
                matches[i].member, matches[i].handler, l);
        if (r < 0)
            return r;
    }
    return 0;
}

static int link_start(struct actuator_link *l)
{
    int r = sd_bus_new(&l->bus);

    if (r >= 0)
        r = sd_bus_set_address(l->bus, l->address);
    if (r >= 0)
        r = sd_bus_negotiate_fds(l->bus, true);
    if (r >= 0)
        r = sd_bus_set_method_call_timeout(l->bus, CALL_TIMEOUT_USEC);
    if (r >= 0)
        r = sd_bus_start(l->bus);
    if (r >= 0)
        r = sd_bus_attach_event(l->bus, l->event, SD_EVENT_PRIORITY_NORMAL);
    if (r >= 0)
        r = link_add_matches(l);
    if (r >= 0)
        r = sd_bus_call_method_async(l->bus, NULL, NULL, ACTUATOR_PATH, "org.freedesktop.DBus.Properties",
                "GetAll", on_get_all, l, "s", ACTUATOR_INTERFACE);
    return r;
}

static int link_connect(struct actuator_link *l)
{
    int r = link_start(l);

    if (r >= 0)
        return 0;
    if (l->bus) {
        sd_bus_detach_event(l->bus);
        l->bus = sd_bus_close_unref(l->bus);
    }
    if (!l->loss_logged)
        log_warning("actuator: %s: %s, retrying every %u ms", l->address, strerror(-r),
                (unsigned)(RECONNECT_USEC / USEC_PER_MSEC));
    l->loss_logged = true;
    return r;
}

int actuator_link_new(sd_event *event, const char *socket_path, const struct actuator_link_ops *ops,
        void *userdata, struct actuator_link **ret)
{
    struct actuator_link *l = calloc(1, sizeof(*l));
    int r;

    if (!l || asprintf(&l->address, "unix:path=%s", socket_path) < 0) {
        free(l);
        return -ENOMEM;
    }
    l->event = sd_event_ref(event);
    l->ops = ops;
    l->userdata = userdata;
    /* The timer also makes the first attempt, so that all attempts take one path. */
    r = sd_event_add_time_relative(
            event, &l->reconnect, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_reconnect_timer, l);
    if (r < 0) {
        actuator_link_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

struct actuator_link *actuator_link_free(struct actuator_link *l)
{
    if (!l)
        return NULL;
    if (l->bus) {
        sd_bus_detach_event(l->bus);
        sd_bus_close_unref(l->bus);
    }
    sd_event_source_disable_unref(l->reconnect);
    sd_event_unref(l->event);
    free(l->address);
    free(l);
    return NULL;
}

const struct actuator_view *actuator_link_view(const struct actuator_link *l)
{
    return &l->view;
}

static int on_resized(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_link *l = userdata;
    const sd_bus_error *e = sd_bus_message_get_error(m);
    uint64_t requested = 0;

    if (!l->resizing)
        return 0;
    l->resizing = false;
    if (e)
        l->ops->answered(0, e->name, e->message, l->userdata);
    else if (sd_bus_message_read(m, "t", &requested) < 0)
        l->ops->answered(0, SD_BUS_ERROR_INCONSISTENT_MESSAGE, "invalid reply", l->userdata);
    else {
        l->view.requested_size = requested;
        l->ops->answered(requested, NULL, NULL, l->userdata);
    }
    return 0;
}

int actuator_link_resize(struct actuator_link *l, bool plug, uint64_t bytes, const char *reason)
{
    int r;

    if (!l->bus)
        return -ENOTCONN;
    if (l->resizing)
        return -EBUSY;
    r = sd_bus_call_method_async(l->bus, NULL, NULL, ACTUATOR_PATH, ACTUATOR_INTERFACE,
            plug ? "Plug" : "Unplug", on_resized, l, "ts", bytes, reason);
    if (r < 0)
        return r;
    l->resizing = true;
    return 0;
}

int actuator_link_report(
        struct actuator_link *l, uint64_t available, uint64_t total, uint32_t some10, const char *level)
{
    if (!l->bus)
        return -ENOTCONN;
    return sd_bus_call_method_async(l->bus, NULL, NULL, ACTUATOR_PATH, ACTUATOR_INTERFACE, "Report", NULL,
            NULL, "ttus", available, total, some10, level);
}

int actuator_link_decline(struct actuator_link *l, uint64_t id, const char *code)
{
    if (!l->bus)
        return -ENOTCONN;
    return sd_bus_call_method_async(l->bus, NULL, NULL, ACTUATOR_PATH, ACTUATOR_INTERFACE, "DeclineShrink",
            NULL, NULL, "ts", id, code);
}

static int on_reclaimed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_link *l = userdata;
    const sd_bus_error *e = sd_bus_message_get_error(m);
    uint64_t bytes = 0;

    if (!l->reclaiming)
        return 0;
    l->reclaiming = false;
    if (e)
        l->ops->reclaimed(0, e->name, l->userdata);
    else if (sd_bus_message_read(m, "t", &bytes) < 0)
        l->ops->reclaimed(0, SD_BUS_ERROR_INCONSISTENT_MESSAGE, l->userdata);
    else
        l->ops->reclaimed(bytes, NULL, l->userdata);
    return 0;
}

int actuator_link_reclaim(struct actuator_link *l, uint64_t bytes)
{
    int r;

    if (!l->bus)
        return -ENOTCONN;
    if (l->reclaiming)
        return -EBUSY;
    r = sd_bus_call_method_async(
            l->bus, NULL, NULL, ACTUATOR_PATH, ACTUATOR_INTERFACE, "Reclaim", on_reclaimed, l, "t", bytes);
    if (r < 0)
        return r;
    l->reclaiming = true;
    return 0;
}

int actuator_link_arm_guard(struct actuator_link *l, uint64_t headroom)
{
    if (!l->bus)
        return -ENOTCONN;
    return sd_bus_call_method_async(
            l->bus, NULL, NULL, ACTUATOR_PATH, ACTUATOR_INTERFACE, "ArmGuard", NULL, NULL, "t", headroom);
}

static int on_trigger(sd_bus_message *m, struct actuator_link *l, bool hard)
{
    int fd, copy;

    if (sd_bus_message_is_method_error(m, NULL)) {
        log_debug("actuator: pressure trigger: %s", sd_bus_message_get_error(m)->message);
        l->ops->trigger(hard, -EINVAL, l->userdata);
        return 0;
    }
    if (sd_bus_message_read(m, "h", &fd) < 0)
        return 0;
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    l->ops->trigger(hard, copy < 0 ? -errno : copy, l->userdata);
    return 0;
}

static int on_early_trigger(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return on_trigger(m, userdata, false);
}

static int on_hard_trigger(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return on_trigger(m, userdata, true);
}

int actuator_link_open_trigger(struct actuator_link *l, bool hard, uint64_t stall_usec, uint64_t window_usec)
{
    if (!l->bus)
        return -ENOTCONN;
    return sd_bus_call_method_async(l->bus, NULL, NULL, ACTUATOR_PATH, ACTUATOR_INTERFACE,
            "OpenPressureTrigger", hard ? on_hard_trigger : on_early_trigger, l, "stt",
            hard ? "full" : "some", stall_usec, window_usec);
}
