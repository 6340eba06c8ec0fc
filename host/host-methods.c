/* SPDX-License-Identifier: MIT */
/* Methods of org.vmtide.Host1 and org.vmtide.Host1.VM: validate, authorise, apply. */
#include "host-bus-internal.h"

#include "bytes.h"
#include "names.h"
#include "text.h"

/* Reasons go to logs, listeners and guests. */
#define WHY_MAX 127u

#define ACTION_SET_LIMITS "org.vmtide.host.set-limits"
#define ACTION_SHRINK "org.vmtide.host.shrink"
#define ACTION_PAUSE "org.vmtide.host.pause"

const struct authorize_rule host_methods_rules[] = {
    { "GetVM", NULL, false },
    { "SetLimits", ACTION_SET_LIMITS, false },
    { "SetWeight", ACTION_SET_LIMITS, false },
    { "RequestShrink", ACTION_SHRINK, false },
    { "Pause", ACTION_PAUSE, false },
    { "Resume", ACTION_PAUSE, false },
    { NULL, NULL, false },
};

static int no_such_vm(const char *name, sd_bus_error *error)
{
    return sd_bus_error_setf(
            error, ERROR_NO_SUCH_VM, "there is no VM %s; GetManagedObjects lists them", TEXT_EXCERPT(name));
}

static int check_text(const char *text, const char *what, sd_bus_error *error)
{
    if (strlen(text) <= WHY_MAX && text_is_printable(text))
        return 0;
    return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
            "%s is text of at most %u bytes without control characters", what, WHY_MAX);
}

static int apply_get_vm(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct host_bus *b = userdata;
    _cleanup_free_ char *path = NULL;
    const char *name;
    int r = sd_bus_message_read(m, "s", &name);

    if (r < 0)
        return r;
    if (!host_find(b->host, name))
        return no_such_vm(name, error);
    r = sd_bus_path_encode(HOST_VMS_PATH, name, &path);
    return r < 0 ? r : sd_bus_reply_method_return(m, "o", path);
}

static int check_set_limits(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    uint64_t min, max;
    int persist;

    return sd_bus_message_read(m, "ttb", &min, &max, &persist);
}

static int apply_set_limits(sd_bus_message *m, struct host *h, struct vm *vm, sd_bus_error *error)
{
    char text[HOST_TEXT_MAX];
    const char *name;
    uint64_t min, max;
    int persist;
    int r = sd_bus_message_read(m, "ttb", &min, &max, &persist);

    if (r < 0)
        return r;
    if (host_set_limits(h, vm, min, max, persist, &name, text) < 0)
        return sd_bus_error_setf(error, name, "%s", text);
    return sd_bus_reply_method_return(m, NULL);
}

static int check_set_weight(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    uint32_t weight;
    int persist;

    return sd_bus_message_read(m, "ub", &weight, &persist);
}

static int apply_set_weight(sd_bus_message *m, struct host *h, struct vm *vm, sd_bus_error *error)
{
    char text[HOST_TEXT_MAX];
    const char *name;
    uint32_t weight;
    int persist;
    int r = sd_bus_message_read(m, "ub", &weight, &persist);

    if (r < 0)
        return r;
    if (host_set_weight(h, vm, weight, persist, &name, text) < 0)
        return sd_bus_error_setf(error, name, "%s", text);
    return sd_bus_reply_method_return(m, NULL);
}

static int check_shrink(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *reason;
    uint64_t size;
    int r = sd_bus_message_read(m, "ts", &size, &reason);

    return r < 0 ? r : check_text(reason, "the reason", error);
}

static int no_guest(const struct vm_view *v, sd_bus_error *error)
{
    return sd_bus_error_setf(error, ERROR_HOST_UNAVAILABLE, "%s is %s: no guest is there that could be asked",
            v->name, vm_life_to_string(v->life));
}

static int apply_shrink(sd_bus_message *m, struct host *h, struct vm *vm, sd_bus_error *error)
{
    struct vm_view v;
    const char *reason;
    uint64_t size;
    int r = sd_bus_message_read(m, "ts", &size, &reason);

    if (r < 0)
        return r;
    vm_view(vm, &v);
    if (v.paused_until > 0 || v.life == VM_LIFE_MIGRATING)
        return sd_bus_error_setf(error, ERROR_BUSY, "%s: %s: nothing is unplugged until that is over", v.name,
                v.paused_until > 0 ? "it is paused, which Resume ends" : "it is migrating");
    if (v.life == VM_LIFE_NO_QEMU || v.life == VM_LIFE_NO_NUMBERS || v.life == VM_LIFE_RESETTING ||
            v.life == VM_LIFE_NO_GUEST)
        return no_guest(&v, error);
    if (size >= v.requested_size || size < v.min_size)
        return sd_bus_error_setf(error, ERROR_INVALID_SIZE,
                "%s: %s is no size to shrink to: it is from the min size of %s up to below the requested "
                "size "
                "of %s",
                v.name, FORMAT_BYTES(size), FORMAT_BYTES(v.min_size), FORMAT_BYTES(v.requested_size));
    if (vm_ask_shrink(vm, size, *reason ? reason : "an administrator asks") < 0)
        return no_guest(&v, error);
    return sd_bus_reply_method_return(m, NULL);
}

static int check_pause(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    uint32_t seconds;
    const char *why;
    int r = sd_bus_message_read(m, "su", &why, &seconds);

    return r < 0 ? r : check_text(why, "why", error);
}

static int apply_pause(sd_bus_message *m, struct host *h, struct vm *vm, sd_bus_error *error)
{
    uint32_t seconds;
    const char *why;
    int r = sd_bus_message_read(m, "su", &why, &seconds);

    if (r < 0)
        return r;
    vm_pause(vm, why, seconds > 0 ? seconds * USEC_PER_SEC : USEC_FOREVER);
    return sd_bus_reply_method_return(m, NULL);
}

static int check_nothing(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return 0;
}

static int apply_resume(sd_bus_message *m, struct host *h, struct vm *vm, sd_bus_error *error)
{
    vm_resume(vm);
    return sd_bus_reply_method_return(m, NULL);
}

static const struct {
    const char *member;
    sd_bus_message_handler_t check;
    int (*apply)(sd_bus_message *m, struct host *h, struct vm *vm, sd_bus_error *error);
} methods[] = {
    { "SetLimits", check_set_limits, apply_set_limits },
    { "SetWeight", check_set_weight, apply_set_weight },
    { "RequestShrink", check_shrink, apply_shrink },
    { "Pause", check_pause, apply_pause },
    { "Resume", check_nothing, apply_resume },
};

/* The VM may have gone while polkit was asked. */
static int apply_vm(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct host_bus *b = userdata;
    struct vm *vm = host_bus_find(b, sd_bus_message_get_path(m));
    size_t i = 0;

    if (!vm)
        return no_such_vm(sd_bus_message_get_path(m), error);
    while (!streq(methods[i].member, sd_bus_message_get_member(m)))
        i++;
    return methods[i].apply(m, b->host, vm, error);
}

int host_method_handle(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct host_bus *b = ((struct host_shown *)userdata)->bus;

    return authorize(b->authorize, m, NULL, apply_get_vm, b);
}

int host_method_vm_handle(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct host_bus *b = ((struct vm_shown *)userdata)->bus;
    size_t i = 0;
    int r;

    while (i < ELEMENTSOF(methods) && !streq(methods[i].member, sd_bus_message_get_member(m)))
        i++;
    if (i == ELEMENTSOF(methods))
        return -EBADMSG;
    r = methods[i].check(m, b, error);
    if (r >= 0)
        r = sd_bus_message_rewind(m, true);
    return r < 0 ? r : authorize(b->authorize, m, NULL, apply_vm, b);
}
