/* SPDX-License-Identifier: MIT */
/* What administrators do to the limits: set them, plug by hand, and what others have reserved. */
#include <glib.h>
#include <inttypes.h>

#include "actuator-internal.h"
#include "names.h"
#include "saved-limits.h"
#include "service.h"

/* So that the monitor does not undo at once what a person did. */
#define MANUAL_USEC (600 * USEC_PER_SEC)

static void update_floor(struct actuator *a)
{
    a->limits.floor = MAX_OF(a->manual_floor, a->reserved_floor);
    actuator_publish(a);
}

void actuator_set_reserved(struct actuator *a, uint64_t bytes, uint64_t floor)
{
    a->view.reserved_bytes = bytes;
    a->reserved_floor = floor;
    update_floor(a);
}

static int on_manual_over(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct actuator *a = userdata;

    log_info("the size plugged by hand (%s) is no min size any more", FORMAT_BYTES(a->manual_floor));
    a->manual_floor = 0;
    update_floor(a);
    return 0;
}

/* An Unplug that will be refused whatever was plugged by hand changes nothing. */
void actuator_manual_asked(struct actuator *a, enum limits_verb verb, uint64_t bytes)
{
    struct limits without = a->limits;
    char text[LIMITS_TEXT_MAX];
    const char *error;
    uint64_t target;

    if (verb != LIMITS_UNPLUG || a->manual_floor == 0)
        return;
    without.floor = a->reserved_floor;
    if (limits_target(&without, verb, bytes, &target, &error, text) < 0)
        return;
    a->manual_floor = 0;
    (void)sd_event_source_set_enabled(a->manual_timer, SD_EVENT_OFF);
    update_floor(a);
}

void actuator_manual_granted(struct actuator *a, const struct request *r, uint64_t requested_size)
{
    if (r->origin != ACTUATOR_MANUAL || r->verb != LIMITS_PLUG)
        return;
    a->manual_floor = requested_size;
    actuator_set_timer(a->manual_timer, now_usec() + MANUAL_USEC);
    update_floor(a);
}

#define LIMIT_TEXT(size) ((size) < UINT64_MAX ? FORMAT_BYTES(size) : "the host's")

static int fail_saved(const char *error, const char **ret_error, char ret_text[static LIMITS_TEXT_MAX])
{
    (void)snprintf(ret_text, LIMITS_TEXT_MAX, "the limits cannot be saved: %s", error);
    *ret_error = "org.freedesktop.DBus.Error.IOError";
    return -EIO;
}

static void take_limits(struct actuator *a, uint64_t min, uint64_t max, bool set)
{
    a->limits.min_size = min;
    a->limits.max_size = max;
    a->limits_set = set;
    actuator_keep_onlining(a, false);
    actuator_publish(a);
}

static int reset_limits(struct actuator *a, bool persist, const char **ret_error, char *ret_text)
{
    g_autofree char *error = NULL;

    if (persist && saved_limits_remove(a->limits_saved, &error) < 0)
        return fail_saved(error, ret_error, ret_text);
    take_limits(a, a->config.min_size, a->config.max_size, false);
    log_info("limits: the configuration's again: min size %s, max size %s%s",
            FORMAT_BYTES(a->config.min_size), LIMIT_TEXT(a->config.max_size),
            persist ? "; saved ones removed" : "");
    return 0;
}

int actuator_set_limits(struct actuator *a, uint64_t min, uint64_t max, bool persist, const char **ret_error,
        char ret_text[static LIMITS_TEXT_MAX])
{
    g_autofree char *error = NULL;
    struct limits l = a->limits;
    int r;

    if (min == LIMITS_KEEP && max == LIMITS_KEEP)
        return reset_limits(a, persist, ret_error, ret_text);
    r = limits_set(&l, min, max, ret_error, ret_text);
    if (r < 0)
        return r;
    if (persist && saved_limits_write(a->limits_saved, l.min_size, l.max_size, &error) < 0)
        return fail_saved(error, ret_error, ret_text);
    take_limits(a, l.min_size, l.max_size, true);
    log_info("limits set: min size %s, max size %s%s", FORMAT_BYTES(l.min_size), LIMIT_TEXT(l.max_size),
            persist ? ", saved" : "");
    return 0;
}

void actuator_say_limits(const struct actuator *a, const char *whose)
{
    log_notice("limits: %s win: min size %s, max size %s; the configuration's min size %s, max size %s are "
               "not in "
               "force (vmtidectl set-limits --reset changes that)",
            whose, FORMAT_BYTES(a->limits.min_size), LIMIT_TEXT(a->limits.max_size),
            FORMAT_BYTES(a->config.min_size), LIMIT_TEXT(a->config.max_size));
}

static void read_saved(struct actuator *a)
{
    g_autofree char *whose = g_strdup_printf("those saved in %s", a->limits_saved);
    uint64_t min, max;
    int r = saved_limits_read(a->limits_saved, &min, &max);

    if (r >= 0) {
        a->limits.min_size = min;
        a->limits.max_size = max;
        a->limits_set = true;
        actuator_say_limits(a, whose);
    } else if (r != -ENOENT)
        log_warning("%s cannot be read; the configuration's limits are in force", a->limits_saved);
}

int actuator_admin_start(struct actuator *a, const char *limits_saved)
{
    int r;

    a->limits_saved = g_strdup(limits_saved);
    r = sd_event_add_time(a->event, &a->manual_timer, CLOCK_MONOTONIC, 0, USEC_PER_SEC, on_manual_over, a);
    if (r >= 0)
        r = sd_event_source_set_enabled(a->manual_timer, SD_EVENT_OFF);
    if (r >= 0)
        read_saved(a);
    return r;
}

void actuator_admin_stop(struct actuator *a)
{
    a->manual_timer = sd_event_source_disable_unref(a->manual_timer);
    g_free(a->limits_saved);
}
