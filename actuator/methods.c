/* SPDX-License-Identifier: MIT */
/* The methods of the vtable: each is read and checked, then its caller authorised, then it is done. */
#include <glib.h>

#include "actuator-bus-internal.h"
#include "names.h"
#include "reclaim.h"
#include "service.h"
#include "text.h"
#include "trigger.h"

const struct authorize_rule methods_rules[] = {
    { "Plug", "org.vmtide.plug", true },
    { "Unplug", "org.vmtide.unplug", true },
    { "OpenPressureTrigger", "org.vmtide.monitor", true },
    { "Reclaim", "org.vmtide.monitor", true },
    { "Report", "org.vmtide.monitor", true },
    { "DeclineShrink", "org.vmtide.monitor", true },
    { "ArmGuard", "org.vmtide.monitor", true },
    { "SetLimits", "org.vmtide.set-limits", false },
    { "Reserve", "org.vmtide.reserve", false },
    { "ListReservations", NULL, false },
    { NULL, NULL, false },
};

/* A caller that has gone by now just hears nothing. */
static void on_done(uint64_t bytes, const char *error, const char *text, void *userdata)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = userdata;

    if (error)
        (void)sd_bus_reply_method_errorf(m, error, "%s", text);
    else
        (void)sd_bus_reply_method_return(m, "t", bytes);
}

static int read_resize(sd_bus_message *m, uint64_t *ret_bytes, const char **ret_reason, sd_bus_error *error)
{
    int r = sd_bus_message_read(m, "ts", ret_bytes, ret_reason);

    if (r < 0)
        return r;
    if (strlen(*ret_reason) > ACTUATOR_REASON_MAX)
        return sd_bus_error_setf(error, ERROR_INVALID_SIZE, "the reason is %zu bytes long, at most %u may be",
                strlen(*ret_reason), ACTUATOR_REASON_MAX);
    if (!text_is_printable(*ret_reason))
        return sd_bus_error_setf(error, ERROR_INVALID_SIZE, "the reason has control characters; text only");
    return 0;
}

static int check_resize(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *reason;
    uint64_t bytes;

    return read_resize(m, &bytes, &reason, error);
}

static int apply_resize(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_bus *b = userdata;
    enum limits_verb verb = streq(sd_bus_message_get_member(m), "Plug") ? LIMITS_PLUG : LIMITS_UNPLUG;
    const char *reason;
    uint64_t bytes;
    int r = read_resize(m, &bytes, &reason, error);

    if (r < 0)
        return r;
    actuator_request(b->actuator, verb, bytes, reason,
            authorize_caller(b->authorize) != b->monitor_uid ? ACTUATOR_MANUAL : ACTUATOR_MONITOR, on_done,
            sd_bus_message_ref(m));
    return 1;
}

struct trigger {
    const char *kind;
    uint64_t stall;
    uint64_t window;
};

static int read_trigger(sd_bus_message *m, struct trigger *ret, sd_bus_error *error)
{
    int r = sd_bus_message_read(m, "stt", &ret->kind, &ret->stall, &ret->window);

    if (r < 0)
        return r;
    if (trigger_check(ret->kind, ret->stall, ret->window) < 0)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                "kind %s, stall %" G_GUINT64_FORMAT " us, window %" G_GUINT64_FORMAT
                " us: the kind is some or full, 0 < stall <= window, and the window from %u ms to 10 s",
                TEXT_EXCERPT(ret->kind), ret->stall, ret->window,
                (unsigned)(TRIGGER_WINDOW_MIN_USEC / USEC_PER_MSEC));
    return 0;
}

static int check_trigger(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct trigger t;

    return read_trigger(m, &t, error);
}

static int trigger_error(int r, const struct trigger *t, sd_bus_error *error)
{
    if (r == -EOPNOTSUPP || r == -ENOENT)
        return sd_bus_error_setf(error, SD_BUS_ERROR_NOT_SUPPORTED,
                "this kernel has no pressure information (psi=1 turns it on)");
    if (r != -EINVAL)
        return sd_bus_error_set_errnof(error, r, "pressure trigger: %s", strerror(-r));
    return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
            "the kernel refuses a stall of %" G_GUINT64_FORMAT " us in a window of %" G_GUINT64_FORMAT
            " us: up to Linux 6.4 the window is at least 500 ms, and without CAP_SYS_RESOURCE it is a "
            "multiple of 2 s",
            t->stall, t->window);
}

/* Unique names are the bus daemon's; what a private peer writes as its sender is its own invention. */
static void caller_name(const struct actuator_bus *b, sd_bus_message *m, char name[static CALLERS_NAME_MAX])
{
    sd_bus *bus = sd_bus_message_get_bus(m);

    if (bus == system_bus_ready(b->system))
        (void)snprintf(name, CALLERS_NAME_MAX, "%s", sd_bus_message_get_sender(m) ?: "");
    else
        (void)snprintf(name, CALLERS_NAME_MAX, "private %p", (void *)bus);
}

static int apply_trigger(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_bus *b = userdata;
    uid_t uid = authorize_caller(b->authorize);
    _cleanup_close_ int fd = -EBADF;
    char name[CALLERS_NAME_MAX];
    struct trigger t;
    int r = read_trigger(m, &t, error);

    if (r < 0)
        return r;
    caller_name(b, m, name);
    r = callers_take(&b->callers, name, uid, now_usec());
    if (r == -EBUSY)
        return sd_bus_error_setf(error, ERROR_RATE_LIMITED,
                "a user is given at most %u triggers a minute, also over new connections; try again later",
                CALLERS_RATE);
    if (r < 0)
        return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                "at most %u triggers for a connection and %u connections with triggers; they count until it "
                "is closed",
                CALLERS_TRIGGERS_MAX, CALLERS_MAX);
    r = trigger_open(b->procfs, t.kind, t.stall, t.window, &fd);
    if (r < 0) {
        callers_give_back(&b->callers, name, uid);
        return trigger_error(r, &t, error);
    }
    return sd_bus_reply_method_return(m, "h", fd);
}

static int read_reclaim(sd_bus_message *m, uint64_t *ret_bytes, sd_bus_error *error)
{
    char text[LIMITS_TEXT_MAX];
    const char *name;
    int r = sd_bus_message_read(m, "t", ret_bytes);

    if (r >= 0 && reclaim_check(*ret_bytes, &name, text) < 0)
        r = sd_bus_error_setf(error, name, "%s", text);
    return r;
}

static int check_reclaim(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    uint64_t bytes;

    return read_reclaim(m, &bytes, error);
}

static int apply_reclaim(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_bus *b = userdata;
    uint64_t bytes;
    int r = read_reclaim(m, &bytes, error);

    if (r < 0)
        return r;
    reclaim_worker_start(b->reclaim, bytes, on_done, sd_bus_message_ref(m));
    return 1;
}

static int read_guard(sd_bus_message *m, uint64_t *ret_headroom)
{
    return sd_bus_message_read(m, "t", ret_headroom);
}

static int check_guard(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    uint64_t headroom;

    return read_guard(m, &headroom);
}

/* Answered at once: the worker arms, and GuardHeadroom tells. */
static int apply_guard(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_bus *b = userdata;
    uint64_t headroom, total;
    char name[CALLERS_NAME_MAX];
    int r = read_guard(m, &headroom);

    if (r < 0)
        return r;
    caller_name(b, m, name);
    if (actuator_arm_guard(b->actuator, headroom, name, &total) == -ERANGE)
        return sd_bus_error_setf(error, ERROR_INVALID_SIZE,
                "a headroom of %" G_GUINT64_FORMAT " bytes is more than half of the guest's memory: %s",
                headroom, FORMAT_BYTES(total));
    return sd_bus_reply_method_return(m, NULL);
}

struct report {
    uint64_t available;
    uint64_t total;
    uint32_t some10;
    enum channel_level level;
};

static int read_report(sd_bus_message *m, struct report *ret, sd_bus_error *error)
{
    const char *level;
    int r = sd_bus_message_read(m, "ttus", &ret->available, &ret->total, &ret->some10, &level);

    if (r < 0)
        return r;
    ret->level = channel_level_from_string(level);
    if ((int)ret->level < 0 || ret->some10 > PERMYRIAD_ONE || ret->available > INT64_MAX ||
            ret->total > INT64_MAX)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                "level %s, some10 %u: the level is normal, rising, critical or settling, some10 at most "
                "%u, "
                "sizes at "
                "most 2^63 - 1",
                TEXT_EXCERPT(level), ret->some10, PERMYRIAD_ONE);
    return 0;
}

static int check_report(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct report r;

    return read_report(m, &r, error);
}

static int apply_report(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_bus *b = userdata;
    struct report report;
    int r = read_report(m, &report, error);

    if (r < 0)
        return r;
    /* Without a host there is nobody to tell, which is no error of the caller's. */
    if (actuator_report(b->actuator, report.available, report.total, report.some10, report.level) == -EBUSY)
        return sd_bus_error_setf(error, ERROR_RATE_LIMITED, "reports come too fast");
    return sd_bus_reply_method_return(m, NULL);
}

static int read_decline(sd_bus_message *m, uint64_t *ret_id, enum channel_code *ret_code, sd_bus_error *error)
{
    const char *code;
    int r = sd_bus_message_read(m, "ts", ret_id, &code);

    if (r < 0)
        return r;
    *ret_code = channel_code_from_string(code);
    if (*ret_code != CHANNEL_CODE_IN_USE && *ret_code != CHANNEL_CODE_BUSY &&
            *ret_code != CHANNEL_CODE_PAUSED)
        return sd_bus_error_setf(
                error, SD_BUS_ERROR_INVALID_ARGS, "code %s: one of in-use, busy, paused", TEXT_EXCERPT(code));
    return 0;
}

static int check_decline(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    enum channel_code code;
    uint64_t id;

    return read_decline(m, &id, &code, error);
}

static int apply_decline(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_bus *b = userdata;
    enum channel_code code;
    uint64_t id;
    int r = read_decline(m, &id, &code, error);

    if (r < 0)
        return r;
    if (actuator_decline_shrink(b->actuator, id, code) == -ENOENT)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                "the host does not wait for an answer to shrink %" G_GUINT64_FORMAT, id);
    return sd_bus_reply_method_return(m, NULL);
}

/* Types were checked by the vtable: validate, authorise, apply. */
int methods_handle(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    static const struct {
        const char *member;
        sd_bus_message_handler_t check;
        sd_bus_message_handler_t apply;
    } methods[] = {
        { "Plug", check_resize, apply_resize },
        { "Unplug", check_resize, apply_resize },
        { "OpenPressureTrigger", check_trigger, apply_trigger },
        { "Reclaim", check_reclaim, apply_reclaim },
        { "ArmGuard", check_guard, apply_guard },
        { "Report", check_report, apply_report },
        { "DeclineShrink", check_decline, apply_decline },
        { "SetLimits", check_set_limits, apply_set_limits },
        { "Reserve", check_reserve, apply_reserve },
        { "ListReservations", check_list, apply_list },
    };
    struct actuator_bus *b = userdata;
    uid_t uid;
    const uid_t *known = peers_uid(b->peers, sd_bus_message_get_bus(m), &uid) >= 0 ? &uid : NULL;
    size_t i = 0;
    int r;

    while (i < ELEMENTSOF(methods) && !streq(methods[i].member, sd_bus_message_get_member(m)))
        i++;
    if (i == ELEMENTSOF(methods))
        return -EBADMSG;
    r = methods[i].check(m, b, error);
    if (r >= 0)
        r = sd_bus_message_rewind(m, true);
    return r < 0 ? r : authorize(b->authorize, m, known, methods[i].apply, b);
}
