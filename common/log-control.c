/* SPDX-License-Identifier: MIT */
#include "log-control.h"

#include "authorize.h"
#include "log.h"
#include "text.h"

#define PATH "/org/freedesktop/LogControl1"
#define INTERFACE "org.freedesktop.LogControl1"
#define PROPERTIES "org.freedesktop.DBus.Properties"

struct log_control {
    struct authorize *authorize;
};

static const struct authorize_rule rules[] = {
    { "Set", AUTHORIZE_ROOT_ONLY, false },
    { NULL, NULL, false },
};

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const char *text = log_identifier();

    if (streq(property, "LogLevel"))
        text = log_level_to_string(log_max_level());
    else if (streq(property, "LogTarget"))
        text = log_target();
    return sd_bus_message_append(reply, "s", text);
}

/* on_message() comes first: it may wait for the bus to say who calls, which this cannot. */
static int set_level(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *value, void *userdata, sd_bus_error *error)
{
    return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED, "the caller is not known");
}

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", get_text, set_level, 0, 0),
    SD_BUS_PROPERTY("LogTarget", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("SyslogIdentifier", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_VTABLE_END,
};

/* 1: the message sets LogLevel, to *ret; 0: it sets something else. */
static int read_level(sd_bus_message *m, int *ret, sd_bus_error *error)
{
    const char *interface, *property, *text;
    int level, r = sd_bus_message_rewind(m, true);

    if (r >= 0)
        r = sd_bus_message_read(m, "ss", &interface, &property);
    if (r < 0)
        return r;
    if (!streq(interface, INTERFACE) || !streq(property, "LogLevel"))
        return 0;
    if (sd_bus_message_read(m, "v", "s", &text) < 0)
        return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "LogLevel is a string");
    level = log_level_from_string(text);
    if (level < 0)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                "LogLevel %s: not one of emerg, alert, crit, err, warning, notice, info, debug",
                TEXT_EXCERPT(text));
    *ret = level;
    return 1;
}

static int apply_level(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    int old = log_max_level(), level = old, r = read_level(m, &level, error);

    if (r <= 0)
        return r;
    /* Said while the more talkative of the two is in force. */
    log_set_max_level(MAX_OF(level, old));
    log_notice("log level is %s now, was %s: set over D-Bus by %s", log_level_to_string(level),
            log_level_to_string(old), sd_bus_message_get_sender(m));
    log_set_max_level(level);
    return sd_bus_reply_method_return(m, NULL);
}

/* Validate, authorise, apply; what is not the level's to be set is sd-bus's to answer. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct log_control *c = userdata;
    int level, r;

    if (!sd_bus_message_is_method_call(m, PROPERTIES, "Set"))
        return 0;
    r = read_level(m, &level, error);
    if (r < 0)
        return r;
    if (r > 0)
        return authorize(c->authorize, m, NULL, apply_level, c);
    r = sd_bus_message_rewind(m, true);
    return MIN_OF(r, 0);
}

int log_control_add(struct log_control *c, sd_bus *bus)
{
    int r = sd_bus_add_object(bus, NULL, PATH, on_message, c);

    return r < 0 ? r : sd_bus_add_object_vtable(bus, NULL, PATH, INTERFACE, vtable, c);
}

int log_control_new(struct log_control **ret)
{
    struct log_control *c = calloc(1, sizeof(*c));
    int r = c ? authorize_new(rules, 0, &c->authorize) : -ENOMEM;

    if (r < 0) {
        free(c);
        return r;
    }
    *ret = c;
    return 0;
}

struct log_control *log_control_free(struct log_control *c)
{
    if (!c)
        return NULL;
    authorize_free(c->authorize);
    free(c);
    return NULL;
}

void log_control_cancel(struct log_control *c)
{
    authorize_cancel(c->authorize);
}

void log_control_caller_gone(struct log_control *c, const char *name)
{
    authorize_caller_gone(c->authorize, name);
}
