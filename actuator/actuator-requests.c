/* SPDX-License-Identifier: MIT */
/* The requests that wait for the host: checked, queued, sent one at a time, answered or given up. */
#include <inttypes.h>

#include "actuator-internal.h"
#include "names.h"
#include "service.h"

static void queue_drop_first(struct actuator *a)
{
    a->queued--;
    a->sent = false;
    memmove(&a->queue[0], &a->queue[1], a->queued * sizeof(a->queue[0]));
}

bool actuator_answered(struct actuator *a, uint64_t id, struct request *ret)
{
    if (!a->sent || id != a->sent_id)
        return false;
    *ret = a->queue[0];
    queue_drop_first(a);
    return true;
}

/* The caller is answered first, it may be in a hurry. */
void actuator_refuse(struct actuator *a, const struct request *r, const char *error, const char *text)
{
    uint64_t now = now_usec();

    r->done(0, error, text, r->userdata);
    if (streq(error, ERROR_RATE_LIMITED) || streq(error, ERROR_BUSY))
        log_repeated(&a->flood_fault, now, LOG_WARNING, "%s %s (%s) refused: %s: %s",
                limits_verb_to_string(r->verb), FORMAT_BYTES(r->bytes), r->reason, error, text);
    else
        log_info("%s %s (%s) refused: %s: %s", limits_verb_to_string(r->verb), FORMAT_BYTES(r->bytes),
                r->reason, error, text);
    (void)strncpy(a->view.last_error, text, sizeof(a->view.last_error) - 1);
    if (a->ops && bucket_take(&a->refused_bucket, now))
        a->ops->refused(limits_verb_to_string(r->verb), r->bytes, error, text, a->ops_userdata);
    actuator_publish(a);
}

static void refuse_first(struct actuator *a, const char *error, const char *text)
{
    struct request r = a->queue[0];

    queue_drop_first(a);
    actuator_refuse(a, &r, error, text);
}

void actuator_give_up(struct actuator *a, const char *text)
{
    while (a->queued > 0)
        refuse_first(a, ERROR_HOST_UNAVAILABLE, text);
    actuator_set_timer(a->timeout, USEC_FOREVER);
}

int actuator_on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct actuator *a = userdata;
    char text[LIMITS_TEXT_MAX];

    (void)snprintf(text, sizeof(text), "the host did not answer in %" PRIu64 " ms",
            a->config.request_timeout_usec / USEC_PER_MSEC);
    /* Deadlines are in the queue's order. */
    while (a->queued > 0 && a->queue[0].deadline <= now_usec()) {
        if (a->queue[0].verb == LIMITS_PLUG)
            guard_control_refused(a->guard, true);
        refuse_first(a, ERROR_HOST_UNAVAILABLE, text);
    }
    actuator_send_next(a);
    return 0;
}

static int send_resize(struct actuator *a, const struct request *r, uint64_t target)
{
    struct channel_message m = { .op = CHANNEL_RESIZE, .id = a->sent_id + 1, .size = target };

    (void)snprintf(m.reason, sizeof(m.reason), "%s", r->reason);
    return host_link_send(a->link, &m);
}

/* Sends the first of the queue when none is with the host. Limits are looked at now: what was granted before
 * counts. The onlining policy is looked at while the host thinks. */
void actuator_send_next(struct actuator *a)
{
    while (a->queued > 0 && !a->sent) {
        const struct request *r = &a->queue[0];
        char text[LIMITS_TEXT_MAX];
        const char *error;
        uint64_t target;
        int e;

        if (limits_target(&a->limits, r->verb, r->bytes, &target, &error, text) < 0) {
            refuse_first(a, error, text);
            continue;
        }
        e = send_resize(a, r, target);
        if (e < 0) {
            (void)snprintf(text, sizeof(text), "the host cannot be reached: %s", strerror(-e));
            refuse_first(a, ERROR_HOST_UNAVAILABLE, text);
            continue;
        }
        a->sent_id++;
        a->sent = true;
        if (r->verb == LIMITS_PLUG)
            actuator_keep_onlining(a, false);
    }
    actuator_set_timer(a->timeout, a->queued > 0 ? a->queue[0].deadline : USEC_FOREVER);
}

void actuator_request(struct actuator *a, enum limits_verb verb, uint64_t bytes, const char *reason,
        bool manual, actuator_done_t done, void *userdata)
{
    uint64_t now = now_usec();
    struct request r = {
        .verb = verb,
        .manual = manual,
        .bytes = bytes,
        .done = done,
        .userdata = userdata,
        .deadline = now + a->config.request_timeout_usec,
    };
    char text[LIMITS_TEXT_MAX];
    const char *error;

    (void)snprintf(r.reason, sizeof(r.reason), "%s", reason);
    actuator_look_for_device(a);
    if (!bucket_take(&a->bucket, now)) {
        (void)snprintf(text, sizeof(text),
                "more than the rate of %" PRIu32 " requests a second (%" PRIu32
                " at once) allows; try again in %" PRIu64 " ms",
                a->config.request_rate, a->config.request_burst,
                bucket_wait(&a->bucket, now) / USEC_PER_MSEC + 1);
        actuator_refuse(a, &r, ERROR_RATE_LIMITED, text);
    } else if (limits_check(&a->limits, verb, bytes, &error, text) < 0)
        actuator_refuse(a, &r, error, text);
    else if (a->queued >= ACTUATOR_QUEUE_MAX) {
        (void)snprintf(text, sizeof(text),
                "%u requests are waiting already; try again when they are answered", a->queued);
        actuator_refuse(a, &r, ERROR_BUSY, text);
    } else {
        if (manual)
            actuator_manual_asked(a, verb, bytes);
        a->queue[a->queued++] = r;
        actuator_send_next(a);
    }
}
