/* SPDX-License-Identifier: MIT */
#include "actuator-view.h"

static uint64_t *view_field(struct actuator_view *v, const char *name)
{
    const struct {
        const char *name;
        uint64_t *field;
    } fields[] = {
        { "Size", &v->size },
        { "RequestedSize", &v->requested_size },
        { "BootSize", &v->boot_size },
        { "MinSize", &v->min_size },
        { "MaxSize", &v->max_size },
        { "HostMinSize", &v->host_min_size },
        { "HostMaxSize", &v->host_max_size },
        { "BlockSize", &v->block_size },
        { "MemoryBlockSize", &v->memory_block_size },
        { "GuardHeadroom", &v->guard_headroom },
        { "ReservedBytes", &v->reserved_bytes },
    };

    for (size_t i = 0; i < ELEMENTSOF(fields); i++)
        if (streq(fields[i].name, name))
            return fields[i].field;
    return NULL;
}

static bool *view_flag(struct actuator_view *v, const char *name)
{
    if (streq(name, "HostConnected"))
        return &v->host_connected;
    return streq(name, "GuardHeld") ? &v->guard_held : NULL;
}

static int read_property(struct actuator_view *v, sd_bus_message *m)
{
    const char *name, *contents;
    uint64_t *field;
    bool *flag;
    char type;
    int r;

    r = sd_bus_message_read(m, "s", &name);
    if (r < 0)
        return r;
    r = sd_bus_message_peek_type(m, &type, &contents);
    if (r < 0)
        return r;
    flag = streq(contents, "b") ? view_flag(v, name) : NULL;
    if (flag) {
        int b = 0;

        r = sd_bus_message_read(m, "v", "b", &b);
        if (r >= 0)
            *flag = b;
        return r;
    }
    field = view_field(v, name);
    if (field && streq(contents, "t"))
        return sd_bus_message_read(m, "v", "t", field);
    return sd_bus_message_skip(m, "v");
}

int actuator_view_read(struct actuator_view *v, sd_bus_message *m)
{
    int r = sd_bus_message_enter_container(m, 'a', "{sv}");

    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = read_property(v, m);
        if (r < 0)
            return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}
