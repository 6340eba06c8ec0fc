/* SPDX-License-Identifier: MIT */
#include "bus-filter.h"

#include "macro.h"

#define PROPERTIES "org.freedesktop.DBus.Properties"

/* Returns the length of the longest string among the arguments, including a string in a variant. Rewinds the
 * message. */
static size_t find_longest(sd_bus_message *m)
{
    const char *contents, *text;
    size_t longest = 0;
    char type;

    while (sd_bus_message_peek_type(m, &type, &contents) > 0) {
        if (type == SD_BUS_TYPE_VARIANT) {
            if (!streq(contents, "s") || sd_bus_message_enter_container(m, type, contents) < 0)
                break;
            continue;
        }
        if (type != SD_BUS_TYPE_STRING || sd_bus_message_read_basic(m, type, &text) < 0)
            break;
        longest = MAX_OF(longest, strlen(text));
    }
    (void)sd_bus_message_rewind(m, true);
    return longest;
}

int bus_filter(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    const char *path = sd_bus_message_get_path(m);
    size_t len;

    if (!sd_bus_message_is_method_call(m, NULL, NULL))
        return 0;
    len = strlen(path ?: "");
    if (len > BUS_NAME_MAX)
        return sd_bus_error_setf(ret_error, SD_BUS_ERROR_INVALID_ARGS,
                "the object path has %zu bytes, the limit is %u", len, BUS_NAME_MAX);
    if (!sd_bus_message_is_method_call(m, PROPERTIES, NULL))
        return 0;
    len = find_longest(m);
    if (len > BUS_NAME_MAX)
        return sd_bus_error_setf(ret_error, SD_BUS_ERROR_INVALID_ARGS,
                "a string has %zu bytes, the limit in calls of " PROPERTIES " is %u", len, BUS_NAME_MAX);
    return 0;
}
