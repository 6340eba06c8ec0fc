/* SPDX-License-Identifier: MIT */
/* Methods for administrators and launchers: limits and reservations. */
#include "actuator-bus-internal.h"
#include "names.h"
#include "text.h"

int check_set_limits(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    uint64_t min, max;
    int persist;

    return sd_bus_message_read(m, "ttb", &min, &max, &persist);
}

int apply_set_limits(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_bus *b = userdata;
    char text[LIMITS_TEXT_MAX];
    const char *name;
    uint64_t min, max;
    int persist;
    int r = sd_bus_message_read(m, "ttb", &min, &max, &persist);

    if (r < 0)
        return r;
    if (actuator_set_limits(b->actuator, min, max, persist, &name, text) < 0)
        return sd_bus_error_setf(error, name, "%s", text);
    return sd_bus_reply_method_return(m, NULL);
}

struct wanted {
    uint64_t bytes;
    const char *who;
    const char *why;
};

static int read_reserve(sd_bus_message *m, struct wanted *ret, sd_bus_error *error)
{
    int r = sd_bus_message_read(m, "tss", &ret->bytes, &ret->who, &ret->why);

    if (r < 0)
        return r;
    if (ret->bytes == 0)
        return sd_bus_error_set(error, ERROR_INVALID_SIZE, "0 bytes is no size to reserve");
    if (ret->who[0] == '\0' || strlen(ret->who) > RESERVATION_WHO_MAX ||
            strlen(ret->why) > RESERVATION_WHY_MAX || !text_is_printable(ret->who) ||
            !text_is_printable(ret->why))
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                "who is text of 1 to %u bytes, why of at most %u, without control characters",
                RESERVATION_WHO_MAX, RESERVATION_WHY_MAX);
    return 0;
}

int check_reserve(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct wanted w;

    return read_reserve(m, &w, error);
}

int apply_reserve(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_bus *b = userdata;
    const struct actuator_view *v = &b->view;
    struct wanted w;
    int r = read_reserve(m, &w, error);

    if (r < 0)
        return r;
    if (!v->host_connected || v->block_size == 0)
        return sd_bus_error_set(error, ERROR_HOST_UNAVAILABLE,
                "nothing is reserved: no host answers on the channel; is vmtide-host running?");
    if (w.bytes > v->max_size)
        return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                "nothing is reserved: %s are more than the max size of %s", FORMAT_BYTES(w.bytes),
                FORMAT_BYTES(v->max_size));
    return reserve_request(b->reserve, m, authorize_caller(b->authorize), w.bytes, w.who, w.why, error);
}

int check_list(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    return 0;
}

int apply_list(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct actuator_bus *b = userdata;
    const struct reservations *table = reserve_table(b->reserve);
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    int r = sd_bus_message_new_method_return(m, &reply);

    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "(tssut)");
    for (size_t i = 0; r >= 0 && i < RESERVATIONS_MAX; i++) {
        const struct reservation *one = &table->table[i];

        if (one->id > 0)
            r = sd_bus_message_append(
                    reply, "(tssut)", one->bytes, one->who, one->why, (uint32_t)one->uid, one->since);
    }
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}
