/* SPDX-License-Identifier: MIT */
#include "state.h"

uint64_t state_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    if (json_is_null(value))
        return UINT64_MAX;
    return json_is_integer(value) && json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
}

const char *state_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key)) ?: "";
}

static void read_actuator(const json_t *o, struct ctl_state *s)
{
    s->size = state_number(o, "Size");
    s->requested_size = state_number(o, "RequestedSize");
    s->boot_size = state_number(o, "BootSize");
    s->min_size = state_number(o, "MinSize");
    s->max_size = state_number(o, "MaxSize");
    s->host_min_size = state_number(o, "HostMinSize");
    s->host_max_size = state_number(o, "HostMaxSize");
    s->guard_headroom = state_number(o, "GuardHeadroom");
    s->reserved_bytes = state_number(o, "ReservedBytes");
    s->guard_held = json_is_true(json_object_get(o, "GuardHeld"));
    s->host_connected = json_is_true(json_object_get(o, "HostConnected"));
    s->state = state_text(o, "State");
    s->version = state_text(o, "Version");
    s->last_error = state_text(o, "LastError");
}

static void read_monitor(const json_t *o, struct ctl_state *s)
{
    s->available = state_number(o, "Available");
    s->headroom = state_number(o, "Headroom");
    s->paused_until = state_number(o, "PausedUntil");
    s->some10 = (uint32_t)MIN_OF(state_number(o, "PressureSome10"), PERMYRIAD_ONE);
    s->mode = state_text(o, "Mode");
    s->level = state_text(o, "Level");
    s->pause_reason = state_text(o, "PauseReason");
}

void state_read(const json_t *root, struct ctl_state *ret)
{
    const json_t *actuator = json_object_get(root, "Actuator1"), *monitor = json_object_get(root, "Monitor1");
    const json_t *reservations = json_object_get(root, "Reservations");
    const json_t *decisions = json_object_get(root, "Decisions");

    *ret = (struct ctl_state){
        .actuator = json_is_object(actuator),
        .monitor = json_is_object(monitor),
        .reservations = json_array_size(reservations) > 0 ? reservations : NULL,
        .decisions = json_array_size(decisions) > 0 ? decisions : NULL,
    };
    read_actuator(actuator, ret);
    read_monitor(monitor, ret);
}
