/* SPDX-License-Identifier: MIT */
#include "bus.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "log.h"
#include "unix-socket.h"

#define TURNS_MAX 10000u
#define CALLS_MAX 8u
#define ANSWER_USEC (8 * USEC_PER_SEC)
/* A string's length byte from here on names a word. */
#define WORDS_FROM 200u

enum verdict {
    SAYS_NOTHING, /* is not to be asked */
    SAYS_YES,
    SAYS_NO,
    SAYS_CHALLENGE,
    SAYS_ERROR,
    SAYS_NONSENSE,
    CALLER_LEAVES, /* while polkit is asked */
    _VERDICT_MAX,
    _VERDICT_INVALID = -EINVAL,
};

#define OWN_NAME ":1.1" /* the daemon's */
#define STRANGER 65000
#define PRIVATE 0
#define MONITOR 2

/* The monitor's uid is the target's, and that of the private socket is ours. */
static struct caller {
    const char *name;
    uid_t uid;
    bool unknown; /* the bus has no such caller (any more) */
    enum verdict polkit;
} callers[] = {
    [PRIVATE] = { .name = NULL },
    { ":1.10", .uid = 0 },
    [MONITOR] = { ":1.11", .polkit = SAYS_NO },
    { ":1.12", .uid = STRANGER, .polkit = SAYS_YES },
    { ":1.13", .uid = STRANGER + 1, .polkit = SAYS_NO },
    { ":1.14", .uid = STRANGER + 2, .polkit = SAYS_CHALLENGE },
    { ":1.15", .uid = STRANGER + 3, .polkit = SAYS_ERROR },
    { ":1.16", .uid = STRANGER + 4, .polkit = SAYS_NONSENSE },
    { ":1.17", .uid = STRANGER + 5, .polkit = CALLER_LEAVES },
    { ":1.18", .unknown = true },
};

struct call {
    sd_bus_slot *slot;
    const struct caller *caller;
    const struct fuzz_method *method;
    bool open;
};

static struct {
    sd_event *event;
    char *address;
    sd_bus *bus; /* our end of the daemon's connection to the bus */
    sd_bus *private;
    const struct fuzz_target *target;
    unsigned n_methods, n_paths, n_words;
    bool named;
    struct call calls[CALLS_MAX];
} f;

static int answer_uid(sd_bus_message *m)
{
    const char *name;

    FUZZ_CHECK(sd_bus_message_read(m, "s", &name) >= 0);
    for (size_t i = 1; i < ELEMENTSOF(callers); i++)
        if (streq(callers[i].name, name) && !callers[i].unknown)
            return sd_bus_reply_method_return(m, "u", (uint32_t)callers[i].uid);
    return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_NAME_HAS_NO_OWNER, "nobody is %s", name);
}

static void say_left(const char *name)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

    FUZZ_CHECK(sd_bus_message_new_signal(
                       f.bus, &m, "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged") >= 0);
    FUZZ_CHECK(sd_bus_message_set_sender(m, "org.freedesktop.DBus") >= 0);
    FUZZ_CHECK(sd_bus_message_append(m, "sss", name, name, "") >= 0);
    FUZZ_CHECK(sd_bus_send(f.bus, m, NULL) >= 0);
}

/* Only those are asked about of whom the bus's word is not enough. */
static int answer_authority(sd_bus_message *m)
{
    const struct caller *c = NULL;
    const char *kind, *key, *name;

    FUZZ_CHECK(sd_bus_message_enter_container(m, 'r', "sa{sv}") > 0);
    FUZZ_CHECK(sd_bus_message_read(m, "s", &kind) >= 0);
    FUZZ_CHECK(sd_bus_message_read(m, "a{sv}", 1, &key, "s", &name) >= 0);
    FUZZ_CHECK(streq(kind, "system-bus-name") && streq(key, "name"));
    for (size_t i = 1; i < ELEMENTSOF(callers); i++)
        if (streq(callers[i].name, name))
            c = &callers[i];
    FUZZ_CHECK(c);
    switch (c->polkit) {
    case SAYS_YES:
    case SAYS_NO:
    case SAYS_CHALLENGE:
        return sd_bus_reply_method_return(
                m, "(bba{ss})", c->polkit == SAYS_YES, c->polkit == SAYS_CHALLENGE, 0);
    case SAYS_ERROR:
        return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_SERVICE_UNKNOWN, "no polkit");
    case SAYS_NONSENSE:
        return sd_bus_reply_method_return(m, "us", 1, "yes");
    case CALLER_LEAVES:
        say_left(c->name);
        return 1;
    case SAYS_NOTHING:
    case _VERDICT_MAX:
    case _VERDICT_INVALID:
        break;
    }
    FUZZ_CHECK(!"polkit is asked about root");
    return 1;
}

/* What the daemon calls, as the bus daemon and polkit would answer it. */
static int on_call(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *member = sd_bus_message_get_member(m);

    if (!sd_bus_message_is_method_call(m, NULL, NULL))
        return 1;
    if (streq(member, "Hello"))
        return sd_bus_reply_method_return(m, "s", OWN_NAME);
    if (streq(member, "GetConnectionUnixUser"))
        return answer_uid(m);
    if (streq(member, "CheckAuthorization"))
        return answer_authority(m);
    if (!streq(member, "RequestName"))
        return sd_bus_reply_method_return(m, NULL);
    f.named = true;
    return sd_bus_reply_method_return(m, "u", 1);
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    /* The daemon has no reason to come twice. */
    FUZZ_CHECK(peer >= 0 && !f.bus);
    FUZZ_CHECK(sd_bus_new(&f.bus) >= 0 && sd_bus_set_fd(f.bus, peer, peer) >= 0);
    FUZZ_CHECK(
            sd_bus_set_server(f.bus, 1, SD_ID128_MAKE(1, 2, 3, 4, 5, 6, 7, 8, 9, a, b, c, d, e, f, 1)) >= 0);
    FUZZ_CHECK(sd_bus_negotiate_fds(f.bus, 1) >= 0 && sd_bus_start(f.bus) >= 0);
    FUZZ_CHECK(sd_bus_attach_event(f.bus, f.event, SD_EVENT_PRIORITY_NORMAL) >= 0);
    FUZZ_CHECK(sd_bus_add_filter(f.bus, NULL, on_call, NULL) >= 0);
    return 0;
}

const char *fuzz_bus_listen(sd_event *event)
{
    g_autofree char *path = fuzz_in_folder("bus");
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    FUZZ_CHECK(fd >= 0 && unix_address(path, &address) >= 0);
    FUZZ_CHECK(bind(fd, (struct sockaddr *)&address, sizeof(address)) >= 0 && listen(fd, 1) >= 0);
    FUZZ_CHECK(sd_event_add_io(event, NULL, fd, EPOLLIN, on_connection, NULL) >= 0);
    f.event = event;
    f.address = g_strdup_printf("unix:path=%s", path);
    return f.address;
}

static void turn(unsigned *turns)
{
    FUZZ_CHECK((*turns)++ < TURNS_MAX);
    FUZZ_CHECK(sd_event_run(f.event, 10 * USEC_PER_SEC) >= 0);
}

static int on_there(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    FUZZ_CHECK(!sd_bus_message_is_method_error(m, NULL));
    *(bool *)userdata = true;
    return 1;
}

/* The first path has the first word for an interface: else all that follows would be refused, and well. */
static void check_there(void)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    unsigned turns = 0;
    bool there = false;

    FUZZ_CHECK(sd_bus_message_new_method_call(f.bus, &m, OWN_NAME, f.target->paths[0],
                       "org.freedesktop.DBus.Properties", "GetAll") >= 0);
    FUZZ_CHECK(sd_bus_message_set_sender(m, callers[1].name) >= 0);
    FUZZ_CHECK(sd_bus_message_append(m, "s", f.target->words[0]) >= 0);
    FUZZ_CHECK(sd_bus_call_async(f.bus, NULL, m, on_there, &there, 0) >= 0);
    while (!there)
        turn(&turns);
}

void fuzz_bus_meet(const struct fuzz_target *t)
{
    unsigned turns = 0;

    f.target = t;
    while (t->methods[f.n_methods].member)
        f.n_methods++;
    while (t->paths[f.n_paths])
        f.n_paths++;
    while (t->words[f.n_words])
        f.n_words++;
    callers[PRIVATE].uid = getuid();
    callers[MONITOR].uid = t->monitor_uid;
    while (!f.named)
        turn(&turns);
    check_there();
}

static uint64_t take(const uint8_t **data, size_t *size, size_t n)
{
    uint64_t value = 0;

    for (; n > 0 && *size > 0; n--, (*data)++, (*size)--)
        value = value << 8 | **data;
    return value;
}

/* A string as D-Bus has it, of what comes next. */
static char *take_text(const uint8_t **data, size_t *size)
{
    size_t wanted = take(data, size, 1), n = MIN_OF(wanted, *size);
    g_autofree char *raw = NULL;

    if (wanted >= WORDS_FROM)
        return g_strdup(f.target->words[(wanted - WORDS_FROM) % f.n_words]);
    raw = g_strndup((const char *)*data, n);
    *data += n;
    *size -= n;
    return g_utf8_make_valid(raw, -1);
}

static int append(sd_bus_message *m, char type, const uint8_t **data, size_t *size)
{
    g_autofree char *text = NULL;

    switch (type) {
    case 't':
        return sd_bus_message_append(m, "t", take(data, size, 8));
    case 'b':
        return sd_bus_message_append(m, "b", (int)(take(data, size, 1) & 1));
    case 'u':
        return sd_bus_message_append(m, "u", (unsigned)take(data, size, 4));
    case 'v':
        if (take(data, size, 1) & 1)
            return sd_bus_message_append(m, "v", "t", take(data, size, 8));
        text = take_text(data, size);
        return sd_bus_message_append(m, "v", "s", text);
    case 'h':
        return sd_bus_message_append(m, "h", 0);
    default:
        text = take_text(data, size);
        return sd_bus_message_append(m, "s", text);
    }
}

static bool may(const struct caller *c, enum fuzz_guard guard)
{
    switch (guard) {
    case FUZZ_ANYBODY:
        return true;
    case FUZZ_MONITOR:
        if (!c->unknown && (c == &callers[MONITOR] || c == &callers[PRIVATE]))
            return true;
        return may(c, FUZZ_ADMIN);
    case FUZZ_ADMIN:
        return c->polkit == SAYS_YES || may(c, FUZZ_ROOT);
    case FUZZ_ROOT:
        return !c->unknown && c->uid == 0;
    case _FUZZ_GUARD_MAX:
    case _FUZZ_GUARD_INVALID:
        break;
    }
    return false;
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct call *c = userdata;

    /* One that our own end makes up after a while is no answer. */
    FUZZ_CHECK(!sd_bus_message_is_method_error(m, SD_BUS_ERROR_NO_REPLY));
    /* An error has a name and words. */
    if (sd_bus_message_is_method_error(m, NULL))
        FUZZ_CHECK(sd_bus_message_get_error(m)->name && sd_bus_message_get_error(m)->message);
    else
        FUZZ_CHECK(may(c->caller, c->method->guard));
    c->open = false;
    return 1;
}

static void connect_private(void)
{
    g_autofree char *address = g_strdup_printf("unix:path=%s", f.target->socket);
    unsigned turns = 0;

    FUZZ_CHECK(sd_bus_new(&f.private) >= 0 && sd_bus_set_address(f.private, address) >= 0);
    FUZZ_CHECK(sd_bus_negotiate_fds(f.private, 1) >= 0 && sd_bus_start(f.private) >= 0);
    FUZZ_CHECK(sd_bus_attach_event(f.private, f.event, SD_EVENT_PRIORITY_NORMAL) >= 0);
    /* Before that a message with an fd would wait for an answer that only this loop can give. */
    while (sd_bus_is_ready(f.private) <= 0)
        turn(&turns);
}

static const struct caller *take_caller(const uint8_t **data, size_t *size)
{
    size_t i = take(data, size, 1) % ELEMENTSOF(callers);

    /* Without a private socket that is root on the bus. */
    if (i == PRIVATE && !f.target->socket)
        i = 1;
    if (i == PRIVATE && !f.private)
        connect_private();
    return &callers[i];
}

/* The caller, the object, the member and its arguments: of the right types, or of some others. */
static void call(struct call *c, const uint8_t **data, size_t *size)
{
    static const char types[] = "stbuvh";
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    const struct caller *caller = take_caller(data, size);
    sd_bus *bus = caller == &callers[PRIVATE] ? f.private : f.bus;
    uint64_t where = take(data, size, 1), which = take(data, size, 1);
    const struct fuzz_method *method = &f.target->methods[which % f.n_methods];
    bool wrong = which >= 128;

    FUZZ_CHECK(sd_bus_message_new_method_call(bus, &m, OWN_NAME, f.target->paths[where % f.n_paths],
                       method->interface, method->member) >= 0);
    if (caller->name)
        FUZZ_CHECK(sd_bus_message_set_sender(m, caller->name) >= 0);
    FUZZ_CHECK(sd_bus_message_set_allow_interactive_authorization(m, where >= 128) >= 0);
    for (size_t i = 0, n = wrong ? take(data, size, 1) % 6 : strlen(method->types); i < n; i++)
        if (append(m, wrong ? types[take(data, size, 1) % 6] : method->types[i], data, size) < 0)
            return;
    *c = (struct call){ .caller = caller, .method = method };
    c->open = sd_bus_call_async(bus, &c->slot, m, on_reply, c, ANSWER_USEC) >= 0;
}

/* Whoever has left hears nothing more, or it was answered before. */
static bool must_hear(const struct call *c)
{
    return c->open && c->caller->polkit != CALLER_LEAVES;
}

void fuzz_bus_run(const uint8_t *data, size_t size)
{
    unsigned n = 0, turns = 0;

    while (size > 0 && n < CALLS_MAX)
        call(&f.calls[n++], &data, &size);
    /* Each call has an answer. */
    for (unsigned i = 0; i < n; i++)
        while (must_hear(&f.calls[i]))
            turn(&turns);
    if (f.private)
        sd_bus_detach_event(f.private);
    f.private = sd_bus_close_unref(f.private);
    /* The daemon sees it go, and what is on its way arrives. */
    while (sd_event_run(f.event, 0) > 0)
        ;
    for (unsigned i = 0; i < n; i++)
        sd_bus_slot_unref(f.calls[i].slot);
    memset(f.calls, 0, sizeof(f.calls));
    FUZZ_CHECK(sd_bus_is_ready(f.bus) > 0);
    /* One of the calls may have set it. */
    log_set_max_level(LOG_EMERG);
}
