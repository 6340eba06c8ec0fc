/* SPDX-License-Identifier: MIT */
#include "actuator-limits.h"

#include <inttypes.h>
#include <stdarg.h>

#include "names.h"

const char *limits_verb_to_string(enum limits_verb verb)
{
    static const char *const names[_LIMITS_VERB_MAX] = { "plug", "unplug" };

    return verb >= 0 && verb < _LIMITS_VERB_MAX ? names[verb] : NULL;
}

uint64_t limits_effective_max(const struct limits *l)
{
    return bytes_round_down(MIN_OF(l->max_size, l->host_max_size), MAX_OF(l->block_size, 1));
}

uint64_t limits_effective_min(const struct limits *l)
{
    uint64_t min = MAX_OF(MAX_OF(l->min_size, l->floor), l->host_min_size), max = limits_effective_max(l);

    if (bytes_round_up(min, MAX_OF(l->block_size, 1), &min) < 0)
        return max;
    return MIN_OF(min, max);
}

static int refuse(const char **ret_error, char *ret_text, const char *error, const char *format, ...)
        _printf_(4, 5);
static int refuse(const char **ret_error, char *ret_text, const char *error, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(ret_text, LIMITS_TEXT_MAX, format, ap);
    va_end(ap);
    *ret_error = error;
    return -EINVAL;
}

static int plug_target(
        const struct limits *l, uint64_t bytes, uint64_t *ret_target, const char **ret_error, char *ret_text)
{
    uint64_t base = MAX_OF(l->size, l->requested_size), max = limits_effective_max(l), rounded, target;

    if (bytes_round_up(bytes, l->block_size, &rounded) < 0 || bytes_add(base, rounded, &target) < 0 ||
            target > max)
        return refuse(ret_error, ret_text, ERROR_LIMIT_EXCEEDED,
                "%" PRIu64 " bytes on top of %s are more than the max size of %s (actuator's %s, host's %s); "
                "%s are left",
                bytes, FORMAT_BYTES(base), FORMAT_BYTES(max),
                l->max_size == UINT64_MAX ? "none" : FORMAT_BYTES(l->max_size),
                FORMAT_BYTES(l->host_max_size), FORMAT_BYTES(sub_floor(max, base)));
    *ret_target = target;
    return 0;
}

static int unplug_target(
        const struct limits *l, uint64_t bytes, uint64_t *ret_target, const char **ret_error, char *ret_text)
{
    uint64_t rounded = bytes_round_down(bytes, l->block_size), min = limits_effective_min(l);

    if (rounded == 0)
        return refuse(ret_error, ret_text, ERROR_INVALID_SIZE,
                "%" PRIu64 " bytes are less than a block of the device (%s)", bytes,
                FORMAT_BYTES(l->block_size));
    if (rounded > l->requested_size || l->requested_size - rounded < min)
        return refuse(ret_error, ret_text, ERROR_BELOW_MINIMUM,
                "%" PRIu64 " bytes less than %s are under the min size of %s%s; %s can be unplugged", bytes,
                FORMAT_BYTES(l->requested_size), FORMAT_BYTES(min),
                min > MAX_OF(l->min_size, l->host_min_size) ? " (reserved, or plugged by an administrator)"
                                                            : "",
                FORMAT_BYTES(sub_floor(l->requested_size, min)));
    *ret_target = l->requested_size - rounded;
    return 0;
}

static int check_new_limit(
        const struct limits *l, const char *which, uint64_t size, const char **ret_error, char *ret_text)
{
    if (l->block_size == 0 || size <= l->host_max_size)
        return 0;
    return refuse(ret_error, ret_text, ERROR_LIMIT_EXCEEDED,
            "%s size %s is more than the host allows: %s at most", which, FORMAT_BYTES(size),
            FORMAT_BYTES(l->host_max_size));
}

int limits_set(struct limits *l, uint64_t min, uint64_t max, const char **ret_error,
        char ret_text[static LIMITS_TEXT_MAX])
{
    uint64_t new_min = min == LIMITS_KEEP ? l->min_size : min;
    uint64_t new_max = max == LIMITS_KEEP ? l->max_size : max == 0 ? UINT64_MAX : max;
    int r = 0;

    if (max > 0 && max < l->block_size)
        return refuse(ret_error, ret_text, ERROR_INVALID_SIZE,
                "max size %" PRIu64 " is less than a block of the device (%s); 0 is the host's limit alone",
                max, FORMAT_BYTES(l->block_size));
    if (new_min > new_max)
        return refuse(ret_error, ret_text, ERROR_INVALID_SIZE, "min size %s%s is more than max size %s%s",
                FORMAT_BYTES(new_min), min == LIMITS_KEEP ? " (in force)" : "", FORMAT_BYTES(new_max),
                max == LIMITS_KEEP ? " (in force)" : "");
    if (max != LIMITS_KEEP)
        r = check_new_limit(l, "max", max, ret_error, ret_text);
    if (r >= 0 && min != LIMITS_KEEP)
        r = check_new_limit(l, "min", min, ret_error, ret_text);
    if (r < 0)
        return r;
    l->min_size = new_min;
    l->max_size = new_max;
    return 0;
}

int limits_check(const struct limits *l, enum limits_verb verb, uint64_t bytes, const char **ret_error,
        char ret_text[static LIMITS_TEXT_MAX])
{
    if (bytes == 0)
        return refuse(ret_error, ret_text, ERROR_INVALID_SIZE, "0 bytes is no size to %s",
                limits_verb_to_string(verb));
    if (!l->device)
        return refuse(ret_error, ret_text, ERROR_NO_DEVICE,
                "this machine has no virtio-mem device, or its driver is not loaded (modprobe virtio_mem)");
    if (!l->host || l->block_size == 0)
        return refuse(ret_error, ret_text, ERROR_HOST_UNAVAILABLE,
                "no host answers on the channel; is vmtide-host running and the port org.vmtide.0 there?");
    return 0;
}

int limits_target(const struct limits *l, enum limits_verb verb, uint64_t bytes, uint64_t *ret_target,
        const char **ret_error, char ret_text[static LIMITS_TEXT_MAX])
{
    int r = limits_check(l, verb, bytes, ret_error, ret_text);

    if (r < 0)
        return r;
    return verb == LIMITS_PLUG ? plug_target(l, bytes, ret_target, ret_error, ret_text)
                               : unplug_target(l, bytes, ret_target, ret_error, ret_text);
}

int limits_leave(const struct limits *l, uint64_t target, uint64_t available, const char **ret_error,
        char ret_text[static LIMITS_TEXT_MAX])
{
    uint64_t goes = sub_floor(l->size, target);

    if (goes == 0 || sub_floor(available, goes) >= LIMITS_LEAVE)
        return 0;
    return refuse(ret_error, ret_text, ERROR_BELOW_MINIMUM,
            "size %s would take %s of the %s that are available; %s stay", FORMAT_BYTES(target),
            FORMAT_BYTES(goes), FORMAT_BYTES(available), FORMAT_BYTES(LIMITS_LEAVE));
}
