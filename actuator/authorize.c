/* SPDX-License-Identifier: MIT */
#include "authorize.h"

#include "names.h"

/* Until polkit is asked: root for everything, the monitor's user for its own. */
static const struct {
    const char *member;
    const char *action;
    bool monitor;
} table[] = {
    { "Plug", "org.vmtide.plug", true },
    { "Unplug", "org.vmtide.unplug", true },
    { "OpenPressureTrigger", "org.vmtide.monitor", true },
    { "Report", "org.vmtide.monitor", true },
    { "DeclineShrink", "org.vmtide.monitor", true },
};

struct pending {
    struct authorize *authorize;
    sd_bus_slot *slot;
    sd_bus_message *message;
    sd_bus_message_handler_t apply;
    void *userdata;
};

struct authorize {
    uid_t monitor_uid;
    struct pending pending[AUTHORIZE_PENDING_MAX];
};

bool authorize_allows(const char *member, uid_t uid, uid_t monitor_uid)
{
    for (size_t i = 0; i < ELEMENTSOF(table); i++)
        if (streq(table[i].member, member))
            return uid == 0 || (table[i].monitor && uid == monitor_uid);
    return false;
}

static const char *action_of(const char *member)
{
    for (size_t i = 0; i < ELEMENTSOF(table); i++)
        if (streq(table[i].member, member))
            return table[i].action;
    return "none";
}

int authorize_new(uid_t monitor_uid, struct authorize **ret)
{
    struct authorize *a = calloc(1, sizeof(*a));

    if (!a)
        return -ENOMEM;
    a->monitor_uid = monitor_uid;
    *ret = a;
    return 0;
}

static void pending_clear(struct pending *p)
{
    sd_bus_slot_unref(p->slot);
    sd_bus_message_unref(p->message);
    *p = (struct pending){ 0 };
}

void authorize_cancel(struct authorize *a)
{
    for (size_t i = 0; i < AUTHORIZE_PENDING_MAX; i++)
        pending_clear(&a->pending[i]);
}

struct authorize *authorize_free(struct authorize *a)
{
    if (!a)
        return NULL;
    authorize_cancel(a);
    free(a);
    return NULL;
}

static int decide(
        struct authorize *a, sd_bus_message *m, uid_t uid, sd_bus_message_handler_t apply, void *userdata)
{
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    const char *member = sd_bus_message_get_member(m);
    int r;

    if (!authorize_allows(member, uid, a->monitor_uid))
        return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_ACCESS_DENIED,
                "uid %u may not %s (%s): root may, and the monitor's user for its own", (unsigned)uid, member,
                action_of(member));
    r = apply(m, userdata, &error);
    if (sd_bus_error_is_set(&error))
        return sd_bus_reply_method_error(m, &error);
    return r < 0 ? sd_bus_reply_method_errno(m, r, NULL) : r;
}

static int on_uid(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    struct pending *slot = userdata, p = *slot;
    const sd_bus_error *e = sd_bus_message_get_error(reply);
    struct authorize *a = p.authorize;
    uint32_t uid;
    int r = 0;

    *slot = (struct pending){ 0 };
    /* A caller that has gone gets nothing done. */
    if (!e && sd_bus_message_read(reply, "u", &uid) >= 0)
        r = decide(a, p.message, uid, p.apply, p.userdata);
    else
        (void)sd_bus_reply_method_errorf(p.message, SD_BUS_ERROR_ACCESS_DENIED,
                "the bus does not say who calls: %s", e && e->message ? e->message : "no uid");
    pending_clear(&p);
    return r < 0 ? 0 : r;
}

int authorize(struct authorize *a, sd_bus_message *m, const uid_t *known_uid, sd_bus_message_handler_t apply,
        void *userdata)
{
    struct pending *p = NULL;
    int r;

    if (known_uid)
        return decide(a, m, *known_uid, apply, userdata);
    for (size_t i = 0; i < AUTHORIZE_PENDING_MAX && !p; i++)
        if (!a->pending[i].message)
            p = &a->pending[i];
    if (!p)
        return sd_bus_reply_method_errorf(m, ERROR_LIMIT_EXCEEDED,
                "%u calls wait for their authorisation already; try again", AUTHORIZE_PENDING_MAX);
    r = sd_bus_call_method_async(sd_bus_message_get_bus(m), &p->slot, "org.freedesktop.DBus",
            "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionUnixUser", on_uid, p, "s",
            sd_bus_message_get_sender(m));
    if (r < 0)
        return r;
    p->authorize = a;
    p->message = sd_bus_message_ref(m);
    p->apply = apply;
    p->userdata = userdata;
    return 1;
}
