/* SPDX-License-Identifier: MIT */
#include "polkit.h"

#define POLKIT_NAME "org.freedesktop.PolicyKit1"
#define POLKIT_PATH "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"

#define ALLOW_USER_INTERACTION 1u

int polkit_ask(sd_bus *bus, const char *sender, const char *action, bool interactive, const char *cancel_id,
        sd_bus_message_handler_t handler, void *userdata, sd_bus_slot **ret_slot)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    int r = sd_bus_message_new_method_call(
            bus, &m, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE, "CheckAuthorization");

    if (r >= 0)
        r = sd_bus_message_append(m, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s", sender, action, 0,
                interactive ? ALLOW_USER_INTERACTION : 0, cancel_id);
    if (r >= 0)
        r = sd_bus_call_async(bus, ret_slot, m, handler, userdata,
                interactive ? POLKIT_INTERACTIVE_TIMEOUT_USEC : POLKIT_TIMEOUT_USEC);
    return r;
}

static bool is_absent(const sd_bus_error *e)
{
    return sd_bus_error_has_names(e, SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER,
            "org.freedesktop.DBus.Error.Spawn.ServiceNotFound", "org.freedesktop.systemd1.NoSuchUnit",
            "org.freedesktop.systemd1.LoadFailed", "org.freedesktop.systemd1.UnitMasked");
}

static void say_unanswered(const sd_bus_error *e, const char *member, const char *action, sd_bus_error *error)
{
    if (is_absent(e))
        (void)sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                "%s needs %s: polkit is not there to allow it; root may", member, action);
    else
        (void)sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                "%s needs %s: polkit does not answer (%s); root may", member, action, e->message ?: e->name);
}

int polkit_read(
        sd_bus_message *reply, const char *member, const char *action, bool interactive, sd_bus_error *error)
{
    const sd_bus_error *e = sd_bus_message_get_error(reply);
    int authorized, challenge, r;

    if (e) {
        say_unanswered(e, member, action, error);
        return 0;
    }
    r = sd_bus_message_enter_container(reply, 'r', "bba{ss}");
    if (r >= 0)
        r = sd_bus_message_read(reply, "bb", &authorized, &challenge);
    if (r < 0)
        (void)sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                "%s needs %s: polkit's answer cannot be read", member, action);
    else if (authorized)
        return 1;
    else if (challenge && !interactive)
        (void)sd_bus_error_setf(error, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                "%s needs %s: an administrator has to allow it; call with interactive authorisation, or as "
                "root",
                member, action);
    else
        (void)sd_bus_error_setf(
                error, SD_BUS_ERROR_ACCESS_DENIED, "%s needs %s: polkit does not allow it", member, action);
    return 0;
}

void polkit_cancel(sd_bus *bus, const char *cancel_id)
{
    (void)sd_bus_call_method_async(bus, NULL, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE,
            "CancelCheckAuthorization", NULL, NULL, "s", cancel_id);
}
