/* SPDX-License-Identifier: MIT */
#include "system-bus.h"

#include "bus-filter.h"
#include "log-control.h"
#include "log.h"

#define DEFAULT_ADDRESS "unix:path=/run/dbus/system_bus_socket"
/* Between two tries: doubled each time, up to the second one. */
#define RETRY_USEC (500 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (32 * USEC_PER_SEC)
/* One before us that was just killed may still have the name for a moment. */
#define TAKEN_TRIES 3u
/* For what we ask the bus daemon. */
#define ANSWER_USEC (5 * USEC_PER_SEC)

struct system_bus {
    sd_event *event;
    sd_event_source *timer;
    sd_bus *bus;
    struct log_control *log_control;
    char *address;
    const char *name;
    const struct system_bus_ops *ops;
    void *userdata;
    uint64_t retry_usec;
    bool said_lost;
    unsigned taken; /* times in a row that the name was somebody else's */
};

static void retry(struct system_bus *s, const char *why)
{
    if (!s->said_lost)
        log_warning("bus: %s: %s; working on without it, trying again", s->address, why);
    s->said_lost = true;
    s->ops->lost(s->userdata);
    log_control_cancel(s->log_control);
    if (s->bus) {
        sd_bus_detach_event(s->bus);
        s->bus = sd_bus_close_unref(s->bus);
    }
    (void)sd_event_source_set_time_relative(s->timer, s->retry_usec);
    (void)sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
    s->retry_usec = MIN_OF(2 * s->retry_usec, RETRY_MAX_USEC);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    retry(userdata, "connection lost");
    return 0;
}

/* Anybody may send a signal to us alone, and a match is no filter for those: only the bus daemon's own count.
 */
static bool is_of_the_bus(sd_bus_message *m)
{
    return streq(sd_bus_message_get_sender(m) ?: "", "org.freedesktop.DBus");
}

static int on_name_gone(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct system_bus *s = userdata;
    const char *name, *old, *new;

    if (!is_of_the_bus(m) || sd_bus_message_read(m, "sss", &name, &old, &new) < 0 || *new != '\0')
        return 0;
    s->ops->name_gone(name, s->userdata);
    log_control_caller_gone(s->log_control, name);
    return 0;
}

static int on_name_lost(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct system_bus *s = userdata;
    const char *name;

    if (is_of_the_bus(m) && sd_bus_message_read(m, "s", &name) >= 0 && streq(name, s->name))
        log_warning("bus: name %s was taken away; working on without it", s->name);
    return 0;
}

static int on_name_acquired(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct system_bus *s = userdata;
    const char *name;

    if (!is_of_the_bus(m) || sd_bus_message_read(m, "s", &name) < 0 || !streq(name, s->name))
        return 0;
    s->retry_usec = RETRY_USEC;
    s->said_lost = false;
    s->taken = 0;
    log_info("bus: has name %s", s->name);
    return 0;
}

static int on_name_answer(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const sd_bus_error *e = sd_bus_message_get_error(m);
    struct system_bus *s = userdata;
    uint32_t answer;

    if (e)
        retry(s, e->message ?: e->name);
    else if (sd_bus_message_read(m, "u", &answer) < 0)
        return 0;
    else if (answer == 3 /* DBUS_REQUEST_NAME_REPLY_EXISTS */ && ++s->taken < TAKEN_TRIES)
        retry(s, "our name is somebody else's");
    else if (answer == 3)
        s->ops->name_taken(s->userdata);
    else if (answer == 2 /* DBUS_REQUEST_NAME_REPLY_IN_QUEUE */)
        log_warning(
                "bus: name %s is somebody else's, waiting for it; is another one of us running?", s->name);
    return 0;
}

static int add_matches(struct system_bus *s)
{
    static const struct {
        const char *member;
        const char *more;
        sd_bus_message_handler_t handler;
    } matches[] = {
        { "NameLost", "", on_name_lost },
        { "NameAcquired", "", on_name_acquired },
        /* Only of names that have no owner any more, so that nobody's coming wakes us. */
        { "NameOwnerChanged", ",arg2=''", on_name_gone },
    };
    int r = sd_bus_match_signal(s->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
            "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, s);

    for (size_t i = 0; r >= 0 && i < ELEMENTSOF(matches); i++) {
        char rule[256];

        (void)snprintf(rule, sizeof(rule),
                "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',member='%s'%s",
                matches[i].member, matches[i].more);
        r = sd_bus_add_match_async(s->bus, NULL, rule, matches[i].handler, NULL, s);
    }
    return r;
}

static int open_bus(struct system_bus *s)
{
    int r = sd_bus_new(&s->bus);

    if (r >= 0)
        r = sd_bus_set_address(s->bus, s->address);
    if (r >= 0)
        r = sd_bus_set_bus_client(s->bus, true);
    if (r >= 0)
        r = sd_bus_negotiate_fds(s->bus, true);
    if (r >= 0)
        r = sd_bus_set_method_call_timeout(s->bus, ANSWER_USEC);
    if (r >= 0)
        r = sd_bus_start(s->bus);
    if (r >= 0)
        r = sd_bus_attach_event(s->bus, s->event, SD_EVENT_PRIORITY_NORMAL);
    if (r >= 0)
        r = sd_bus_add_filter(s->bus, NULL, bus_filter, NULL);
    if (r >= 0)
        r = add_matches(s);
    if (r >= 0)
        r = log_control_add(s->log_control, s->bus);
    if (r >= 0)
        r = s->ops->opened(s->bus, s->userdata);
    if (r >= 0)
        r = sd_bus_request_name_async(
                s->bus, NULL, s->name, s->ops->name_taken ? 0 : SD_BUS_NAME_QUEUE, on_name_answer, s);
    return r;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct system_bus *s = userdata;
    int r = open_bus(s);

    if (r < 0)
        retry(s, strerror(-r));
    return 0;
}

int system_bus_new(sd_event *event, const char *address, const char *name, const struct system_bus_ops *ops,
        void *userdata, struct system_bus **ret)
{
    struct system_bus *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->event = sd_event_ref(event);
    s->name = name;
    s->ops = ops;
    s->userdata = userdata;
    s->retry_usec = RETRY_USEC;
    s->address = strdup(address ?: getenv("DBUS_SYSTEM_BUS_ADDRESS") ?: DEFAULT_ADDRESS);
    /* The first try comes from the timer too: one way in. */
    r = s->address ? sd_event_add_time(event, &s->timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_timer, s)
                   : -ENOMEM;
    if (r >= 0)
        r = log_control_new(&s->log_control);
    if (r < 0) {
        system_bus_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

struct system_bus *system_bus_free(struct system_bus *s)
{
    if (!s)
        return NULL;
    if (s->bus) {
        sd_bus_detach_event(s->bus);
        sd_bus_close_unref(s->bus);
    }
    log_control_free(s->log_control);
    sd_event_source_disable_unref(s->timer);
    sd_event_unref(s->event);
    free(s->address);
    free(s);
    return NULL;
}

sd_bus *system_bus_ready(const struct system_bus *s)
{
    return s && s->bus && sd_bus_is_ready(s->bus) > 0 ? s->bus : NULL;
}
