/* SPDX-License-Identifier: MIT */
/* The requests that wait for the host: checked, queued, sent one at a time, answered or given up. */
#include <inttypes.h>

#include "actuator-internal.h"
#include "meminfo.h"
#include "names.h"
#include "service.h"

/* An answer that is not there after so many time-outs is lost: hello is said again, since that begins anew
 * with the host's numbers. */
#define LATE_MAX 6u

static void queue_drop_first(struct actuator *a)
{
    a->queued--;
    a->sent = false;
    memmove(&a->queue[0], &a->queue[1], a->queued * sizeof(a->queue[0]));
}

bool actuator_answered(struct actuator *a, uint64_t id, struct request *ret)
{
    if (id == a->sent_id)
        a->late = false;
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
    a->late = false;
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
        if (a->queue[0].verb == LIMITS_PLUG && a->queue[0].origin == ACTUATOR_MONITOR)
            guard_control_refused(a->guard, true);
        a->late |= a->sent;
        refuse_first(a, ERROR_HOST_UNAVAILABLE, text);
    }
    if (a->late && now_usec() - a->sent_at >= LATE_MAX * a->config.request_timeout_usec)
        host_link_renew(a->link, "no answer to a request");
    actuator_send_next(a);
    return 0;
}

/* What the size of a reservation takes now. False: nothing, which is an answer. */
static bool needs_more(struct actuator *a, struct request *r)
{
    uint64_t there = MAX_OF(a->limits.size, a->limits.requested_size);

    if (r->size == 0 || r->size > there) {
        r->bytes = r->size > 0 ? r->size - there : r->bytes;
        return true;
    }
    return false;
}

static void answer_first(struct actuator *a)
{
    struct request r = a->queue[0];

    queue_drop_first(a);
    r.done(a->limits.requested_size, NULL, NULL, r.userdata);
}

/* What is asked for may not be what is good for the guest: the monitor may have been taken over. Not known
 * how much is available: it keeps what it has. An administrator knows what he does. */
static int find_target(const struct actuator *a, const struct request *r, uint64_t *ret_target,
        const char **ret_error, char *ret_text)
{
    struct meminfo m;
    uint64_t target;
    int e = limits_target(&a->limits, r->verb, r->bytes, &target, ret_error, ret_text);

    if (e >= 0 && r->verb == LIMITS_UNPLUG && r->origin == ACTUATOR_MONITOR)
        e = limits_leave(
                &a->limits, target, meminfo_read(a->meminfo, &m) < 0 ? 0 : m.available, ret_error, ret_text);
    if (e >= 0)
        *ret_target = target;
    return e;
}

static int send_resize(struct actuator *a, const struct request *r, uint64_t target)
{
    struct channel_message m = { .op = CHANNEL_RESIZE, .id = a->sent_id + 1, .size = target };

    (void)snprintf(m.reason, sizeof(m.reason), "%s", r->reason);
    return host_link_send(a->link, &m);
}

/* Sends the first of the queue when none is with the host. Limits are looked at now: what was granted before
 * counts, and an answer that is late may change them: a plug that did not know of it would ask for less than
 * there is. The onlining policy is looked at while the host thinks. */
void actuator_send_next(struct actuator *a)
{
    while (a->queued > 0 && !a->sent && !a->late && !actuator_kernel_block_is_pending(a)) {
        struct request *r = &a->queue[0];
        char text[LIMITS_TEXT_MAX];
        const char *error;
        uint64_t target;
        int e;

        if (!needs_more(a, r)) {
            answer_first(a);
            continue;
        }
        if (find_target(a, r, &target, &error, text) < 0) {
            refuse_first(a, error, text);
            continue;
        }
        target = actuator_kernel_block_begin(a, r, target);
        e = send_resize(a, r, target);
        if (e < 0) {
            actuator_kernel_block_answered(a, false);
            (void)snprintf(text, sizeof(text), "the host cannot be reached: %s", strerror(-e));
            refuse_first(a, ERROR_HOST_UNAVAILABLE, text);
            continue;
        }
        a->sent_id++;
        a->sent = true;
        a->sent_at = now_usec();
        if (r->verb == LIMITS_PLUG)
            actuator_keep_onlining(a, false);
    }
    actuator_set_timer(a->timeout, a->queued > 0 ? a->queue[0].deadline : USEC_FOREVER);
}

static bool is_too_fast(struct actuator *a, struct bucket *b, uint64_t now, char *ret_text)
{
    if (bucket_take(b, now))
        return false;
    (void)snprintf(ret_text, LIMITS_TEXT_MAX,
            "more than the rate of %" PRIu32 " requests a second (%" PRIu32
            " at once) allows; try again in %" PRIu64 " ms",
            a->config.request_rate, a->config.request_burst, bucket_wait(b, now) / USEC_PER_MSEC + 1);
    return true;
}

int actuator_may_reserve(struct actuator *a, char ret_text[static LIMITS_TEXT_MAX])
{
    return is_too_fast(a, &a->reserve_bucket, now_usec(), ret_text) ? -EBUSY : 0;
}

/* A place in the queue: half of them are not for reservations. */
static bool has_place(const struct actuator *a, enum actuator_origin origin)
{
    unsigned reservations = 0;

    for (unsigned i = 0; i < a->queued; i++)
        reservations += a->queue[i].origin == ACTUATOR_RESERVATION;
    return a->queued < ACTUATOR_QUEUE_MAX &&
           (origin != ACTUATOR_RESERVATION || reservations < ACTUATOR_QUEUE_MAX / 2);
}

static void submit(struct actuator *a, const struct request *r)
{
    char text[LIMITS_TEXT_MAX];
    const char *error;

    actuator_look_for_device(a);
    if (r->origin == ACTUATOR_MONITOR)
        guard_control_alive(a->guard);
    if (r->origin != ACTUATOR_RESERVATION && is_too_fast(a, &a->bucket, now_usec(), text))
        actuator_refuse(a, r, ERROR_RATE_LIMITED, text);
    else if (limits_check(&a->limits, r->verb, r->bytes, &error, text) < 0)
        actuator_refuse(a, r, error, text);
    else if (!has_place(a, r->origin)) {
        (void)snprintf(text, sizeof(text),
                "%u requests are waiting already; try again when they are answered", a->queued);
        actuator_refuse(a, r, ERROR_BUSY, text);
    } else {
        if (r->origin == ACTUATOR_MANUAL)
            actuator_manual_asked(a, r->verb, r->bytes);
        a->queue[a->queued++] = *r;
        actuator_send_next(a);
    }
}

void actuator_request(struct actuator *a, enum limits_verb verb, uint64_t bytes, const char *reason,
        enum actuator_origin origin, actuator_done_t done, void *userdata)
{
    struct request r = {
        .verb = verb,
        .origin = origin,
        .bytes = bytes,
        .done = done,
        .userdata = userdata,
        .deadline = now_usec() + a->config.request_timeout_usec,
    };

    (void)snprintf(r.reason, sizeof(r.reason), "%s", reason);
    submit(a, &r);
}

void actuator_request_size(
        struct actuator *a, uint64_t size, const char *reason, actuator_done_t done, void *userdata)
{
    uint64_t there = MAX_OF(a->limits.size, a->limits.requested_size);
    struct request r = {
        .verb = LIMITS_PLUG,
        .origin = ACTUATOR_RESERVATION,
        .bytes = size > there ? size - there : a->limits.block_size,
        .size = size,
        .done = done,
        .userdata = userdata,
        .deadline = now_usec() + a->config.request_timeout_usec,
    };

    (void)snprintf(r.reason, sizeof(r.reason), "%s", reason);
    submit(a, &r);
}
