/* SPDX-License-Identifier: MIT */
#include "authorize.h"

#include <inttypes.h>

#include "names.h"
#include "polkit.h"

struct pending {
    struct authorize *authorize;
    sd_bus_slot *slot;
    sd_bus_message *message;
    sd_bus_message_handler_t apply;
    void *userdata;
    uid_t uid;
    const struct authorize_rule *rule; /* once polkit is asked */
    uint64_t query;                    /* which one it is at polkit */
    char cancel_id[32];                /* empty: polkit was not asked yet */
};

struct authorize {
    const struct authorize_rule *rules;
    uid_t monitor_uid;
    uid_t caller;
    uint64_t queries;
    struct pending pending[AUTHORIZE_PENDING_MAX];
};

static const struct authorize_rule *find_rule(const struct authorize_rule *rules, const char *member)
{
    for (; rules->member; rules++)
        if (streq(rules->member, member))
            return rules;
    return NULL;
}

enum authorize_verdict authorize_judge(
        const struct authorize_rule *rules, const char *member, uid_t uid, uid_t monitor_uid)
{
    const struct authorize_rule *rule = find_rule(rules, member);

    if (!rule)
        return AUTHORIZE_NO;
    if (uid == 0 || !rule->action || (rule->monitor && uid == monitor_uid))
        return AUTHORIZE_YES;
    return streq(rule->action, AUTHORIZE_ROOT_ONLY) ? AUTHORIZE_NO : AUTHORIZE_ASK;
}

int authorize_new(const struct authorize_rule *rules, uid_t monitor_uid, struct authorize **ret)
{
    struct authorize *a = calloc(1, sizeof(*a));

    if (!a)
        return -ENOMEM;
    a->rules = rules;
    a->monitor_uid = monitor_uid;
    *ret = a;
    return 0;
}

static void pending_clear(struct pending *p)
{
    sd_bus_slot_unref(p->slot);
    sd_bus_message_unref(p->message);
    *p = (struct pending){ 0 };
}

void authorize_cancel(struct authorize *a)
{
    for (size_t i = 0; i < AUTHORIZE_PENDING_MAX; i++)
        pending_clear(&a->pending[i]);
}

void authorize_caller_gone(struct authorize *a, const char *name)
{
    for (size_t i = 0; i < AUTHORIZE_PENDING_MAX; i++) {
        struct pending *p = &a->pending[i];

        if (!p->message || !streq(sd_bus_message_get_sender(p->message), name))
            continue;
        if (p->cancel_id[0] != '\0')
            polkit_cancel(sd_bus_message_get_bus(p->message), p->cancel_id);
        pending_clear(p);
    }
}

struct authorize *authorize_free(struct authorize *a)
{
    if (!a)
        return NULL;
    authorize_cancel(a);
    free(a);
    return NULL;
}

uid_t authorize_caller(const struct authorize *a)
{
    return a->caller;
}

static int carry_out(
        struct authorize *a, sd_bus_message *m, uid_t uid, sd_bus_message_handler_t apply, void *userdata)
{
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    int r;

    a->caller = uid;
    r = apply(m, userdata, &error);

    if (sd_bus_error_is_set(&error))
        return sd_bus_reply_method_error(m, &error);
    return r < 0 ? sd_bus_reply_method_errno(m, r, NULL) : r;
}

/* The slot is free for the next one before the call is carried out. */
static struct pending pending_take(struct pending *p)
{
    struct pending taken = *p;

    *p = (struct pending){ 0 };
    return taken;
}

static int on_polkit(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    _cleanup_(pending_clear) struct pending p = pending_take(userdata);
    _cleanup_(sd_bus_error_free) sd_bus_error denied = SD_BUS_ERROR_NULL;
    bool interactive = sd_bus_message_get_allow_interactive_authorization(p.message) > 0;

    /* Timed out here, it may live on there, with its dialogue. */
    if (sd_bus_message_is_method_error(reply, NULL))
        polkit_cancel(sd_bus_message_get_bus(p.message), p.cancel_id);
    if (polkit_read(reply, p.rule->member, p.rule->action, interactive, &denied) > 0)
        (void)carry_out(p.authorize, p.message, p.uid, p.apply, p.userdata);
    else
        (void)sd_bus_reply_method_error(p.message, &denied);
    return 0;
}

static int ask_polkit(struct pending *p, const struct authorize_rule *rule)
{
    p->slot = sd_bus_slot_unref(p->slot);
    p->rule = rule;
    p->query = ++p->authorize->queries;
    (void)snprintf(p->cancel_id, sizeof(p->cancel_id), "vmtide-%" PRIu64, p->query);
    return polkit_ask(sd_bus_message_get_bus(p->message), sd_bus_message_get_sender(p->message), rule->action,
            sd_bus_message_get_allow_interactive_authorization(p->message) > 0, p->cancel_id, on_polkit, p,
            &p->slot);
}

static void deny(sd_bus_message *m, const char *why)
{
    (void)sd_bus_reply_method_errorf(
            m, SD_BUS_ERROR_ACCESS_DENIED, "%s is not allowed: %s", sd_bus_message_get_member(m), why);
}

static void deny_more(sd_bus_message *m)
{
    (void)sd_bus_reply_method_errorf(m, ERROR_LIMIT_EXCEEDED,
            "%u calls of everybody's, or %u of yours, wait for their authorisation already; try again",
            AUTHORIZE_QUERIES_MAX, AUTHORIZE_QUERIES_EACH_MAX);
}

static unsigned count_queries(const struct authorize *a, uid_t uid)
{
    unsigned n = 0;

    for (size_t i = 0; i < AUTHORIZE_PENDING_MAX; i++)
        n += a->pending[i].cancel_id[0] != '\0' && a->pending[i].uid == uid;
    return n;
}

/* The newest query of the user who has the most: a dialogue that somebody is at is an older one. */
static struct pending *find_most(struct authorize *a, unsigned *ret_n)
{
    struct pending *most = NULL;
    unsigned n, most_n = 0;

    for (size_t i = 0; i < AUTHORIZE_PENDING_MAX; i++) {
        struct pending *p = &a->pending[i];

        if (p->cancel_id[0] == '\0')
            continue;
        n = count_queries(a, p->uid);
        if (most && (n < most_n || (n == most_n && p->query < most->query)))
            continue;
        most = p;
        most_n = n;
    }
    *ret_n = most_n;
    return most;
}

/* Whoever has least gets in: with all places taken one of the user's with the most is freed for another who
 * has fewer even then. So no number of users below the places keeps one more out. */
static bool may_query(struct authorize *a, uid_t uid)
{
    unsigned all = 0, own = count_queries(a, uid), most_n;
    struct pending *most;

    for (size_t i = 0; i < AUTHORIZE_PENDING_MAX; i++)
        all += a->pending[i].cancel_id[0] != '\0';
    if (own >= AUTHORIZE_QUERIES_EACH_MAX || all < AUTHORIZE_QUERIES_MAX)
        return own < AUTHORIZE_QUERIES_EACH_MAX;
    most = find_most(a, &most_n);
    if (!most || most_n <= own + 1)
        return false;
    polkit_cancel(sd_bus_message_get_bus(most->message), most->cancel_id);
    deny_more(most->message);
    pending_clear(most);
    return true;
}

/* The bus has told who calls; an error means that the caller has gone, who gets nothing done. */
static int on_uid(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    struct pending *p = userdata;
    const sd_bus_error *e = sd_bus_message_get_error(reply);
    struct authorize *a = p->authorize;
    const char *member = sd_bus_message_get_member(p->message);
    enum authorize_verdict verdict = AUTHORIZE_NO;
    uint32_t uid;

    if (!e && sd_bus_message_read(reply, "u", &uid) >= 0) {
        verdict = authorize_judge(a->rules, member, uid, a->monitor_uid);
        p->uid = uid;
    }
    if (verdict == AUTHORIZE_YES) {
        _cleanup_(pending_clear) struct pending taken = pending_take(p);

        (void)carry_out(a, taken.message, uid, taken.apply, taken.userdata);
    } else if (verdict == AUTHORIZE_ASK && !may_query(a, uid)) {
        deny_more(p->message);
        pending_clear(p);
    } else if (verdict != AUTHORIZE_ASK || ask_polkit(p, find_rule(a->rules, member)) < 0) {
        deny(p->message, e                         ? "the bus does not say who calls"
                         : verdict == AUTHORIZE_NO ? "it is for root"
                                                   : "polkit cannot be asked");
        pending_clear(p);
    }
    return 0;
}

static unsigned count_lookups(const struct authorize *a, const char *sender)
{
    unsigned n = 0;

    for (size_t i = 0; i < AUTHORIZE_PENDING_MAX; i++)
        n += a->pending[i].message && a->pending[i].cancel_id[0] == '\0' &&
             streq(sd_bus_message_get_sender(a->pending[i].message), sender);
    return n;
}

/* A free place, or that of a call of the client which has the most; NULL: that client is the sender. */
static struct pending *pending_new(struct authorize *a, const char *sender)
{
    struct pending *most = NULL;
    unsigned n, most_n = count_lookups(a, sender);

    for (size_t i = 0; i < AUTHORIZE_PENDING_MAX; i++) {
        struct pending *p = &a->pending[i];

        if (!p->message)
            return p;
        if (p->cancel_id[0] != '\0')
            continue;
        n = count_lookups(a, sd_bus_message_get_sender(p->message));
        if (n > most_n) {
            most = p;
            most_n = n;
        }
    }
    if (most) {
        deny_more(most->message);
        pending_clear(most);
    }
    return most;
}

static int answer_known(
        struct authorize *a, sd_bus_message *m, uid_t uid, sd_bus_message_handler_t apply, void *userdata)
{
    if (authorize_judge(a->rules, sd_bus_message_get_member(m), uid, a->monitor_uid) == AUTHORIZE_YES)
        return carry_out(a, m, uid, apply, userdata);
    deny(m, "this socket is for root and for the monitor's own calls");
    return 1;
}

int authorize(struct authorize *a, sd_bus_message *m, const uid_t *known_uid, sd_bus_message_handler_t apply,
        void *userdata)
{
    const char *sender = sd_bus_message_get_sender(m);
    struct pending *p;
    int r;

    if (known_uid)
        return answer_known(a, m, *known_uid, apply, userdata);
    p = sender ? pending_new(a, sender) : NULL;
    if (!p) {
        deny_more(m);
        return 1;
    }
    r = sd_bus_call_method_async(sd_bus_message_get_bus(m), &p->slot, "org.freedesktop.DBus",
            "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionUnixUser", on_uid, p, "s", sender);
    if (r < 0)
        return r;
    p->authorize = a;
    p->message = sd_bus_message_ref(m);
    p->apply = apply;
    p->userdata = userdata;
    return 1;
}
