/* SPDX-License-Identifier: MIT */
/* What administrators set of a VM at run time. */
#include "host-internal.h"

#include "bytes.h"
#include "names.h"

#define MAX_TEXT(size) ((size) == UINT64_MAX ? "what its devices can hold" : FORMAT_BYTES(size))

static int fail(int r, const char *error, const char **ret_error)
{
    *ret_error = error;
    return r;
}

static int keep(struct entry *e, enum override_part part, const struct override *o, bool persist,
        const char **ret_error, char ret_text[static HOST_TEXT_MAX])
{
    g_autofree char *error = NULL;
    const char *end;

    if (overrides_set(e->host->overrides, e->configured.name, part, o, persist, &error) < 0) {
        (void)snprintf(ret_text, HOST_TEXT_MAX, "%s: nothing is set: %s", e->configured.name, error);
        /* Half a character is no text for the bus. */
        if (!g_utf8_validate(ret_text, -1, &end))
            ret_text[end - ret_text] = '\0';
        return fail(-EIO, "org.freedesktop.DBus.Error.IOError", ret_error);
    }
    entry_take_overrides(e);
    vm_configure(e->vm, &e->settings);
    return 0;
}

static int check_limits(const struct entry *e, const struct override *o, const char **ret_error,
        char ret_text[static HOST_TEXT_MAX])
{
    struct vm_view v;

    vm_view(e->vm, &v);
    if (o->min_size > o->max_size) {
        (void)snprintf(ret_text, HOST_TEXT_MAX, "%s: a min size of %s is above the max size of %s", v.name,
                FORMAT_BYTES(o->min_size), FORMAT_BYTES(o->max_size));
        return fail(-EINVAL, ERROR_INVALID_SIZE, ret_error);
    }
    if (o->has_limits && o->max_size > 0 && o->max_size < v.block_size) {
        (void)snprintf(ret_text, HOST_TEXT_MAX,
                "%s: a max size of %s is less than a block of its devices, %s; 0 is what they can hold",
                v.name, FORMAT_BYTES(o->max_size), FORMAT_BYTES(v.block_size));
        return fail(-EINVAL, ERROR_INVALID_SIZE, ret_error);
    }
    if (v.device_max > 0 && o->min_size > v.device_max) {
        (void)snprintf(ret_text, HOST_TEXT_MAX, "%s: a min size of %s is more than its devices can hold, %s",
                v.name, FORMAT_BYTES(o->min_size), FORMAT_BYTES(v.device_max));
        return fail(-ERANGE, ERROR_LIMIT_EXCEEDED, ret_error);
    }
    return 0;
}

int host_set_limits(struct host *h, struct vm *vm, uint64_t min, uint64_t max, bool persist,
        const char **ret_error, char ret_text[static HOST_TEXT_MAX])
{
    struct entry *e = host_entry(h, vm_name(vm));
    bool reset = min == HOST_KEEP && max == HOST_KEEP;
    struct override o = { .has_limits = !reset };
    int r;

    o.min_size = reset ? 0 : min == HOST_KEEP ? e->settings.min_size : min;
    o.max_size = reset ? 0 : max == HOST_KEEP ? e->settings.max_size : max == 0 ? UINT64_MAX : max;
    r = check_limits(e, &o, ret_error, ret_text);
    if (r >= 0)
        r = keep(e, OVERRIDE_LIMITS, &o, persist, ret_error, ret_text);
    if (r < 0)
        return r;
    log_info("%s: limits %s: min size %s, max size %s%s", vm_name(vm),
            reset ? "are the configuration's again" : "set", FORMAT_BYTES(e->settings.min_size),
            MAX_TEXT(e->settings.max_size), persist ? ", saved" : "");
    return 0;
}

int host_set_weight(struct host *h, struct vm *vm, uint32_t weight, bool persist, const char **ret_error,
        char ret_text[static HOST_TEXT_MAX])
{
    struct entry *e = host_entry(h, vm_name(vm));
    struct override o = { .has_weight = weight > 0, .weight = weight };
    int r;

    if (weight > SHARE_WEIGHT_MAX) {
        (void)snprintf(ret_text, HOST_TEXT_MAX, "%s: a weight is 1 to %u, %u is not", vm_name(vm),
                SHARE_WEIGHT_MAX, weight);
        return fail(-EINVAL, "org.freedesktop.DBus.Error.InvalidArgs", ret_error);
    }
    r = keep(e, OVERRIDE_WEIGHT, &o, persist, ret_error, ret_text);
    if (r < 0)
        return r;
    log_info("%s: weight %s%u%s", vm_name(vm),
            weight > 0 ? "set: " : "is the configuration's again: ", e->settings.weight,
            persist ? ", saved" : "");
    return 0;
}
