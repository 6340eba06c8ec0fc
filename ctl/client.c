/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <glib.h>

#include "agent.h"
#include "log.h"
#include "names.h"
#include "state.h"

/* For what needs no authorisation. */
#define READ_USEC (5 * USEC_PER_SEC)
/* A person types a password in 120 s at most (the daemons' own limit), then Reserve takes up to 30 s. */
#define ACT_USEC (160 * USEC_PER_SEC)

const struct client_daemon client_actuator = { ACTUATOR_NAME, ACTUATOR_PATH, "Actuator1" };
const struct client_daemon client_host = { HOST_NAME, HOST_PATH, "Host1" };
const struct client_daemon client_monitor = { MONITOR_NAME, MONITOR_PATH, "Monitor1" };

static int fail_as(
        const char *what, int r, const sd_bus_error *error, struct fault (*judge)(const char *error_name))
{
    _cleanup_(sd_bus_error_free) sd_bus_error own = SD_BUS_ERROR_NULL;
    struct fault f;

    if (!error || !sd_bus_error_is_set(error)) {
        (void)sd_bus_error_set_errno(&own, r);
        error = &own;
    }
    f = judge(error->name);
    log_error("%s: %s", what, error->message ?: error->name);
    if (f.advice)
        log_error("%s", f.advice);
    return -(int)f.status;
}

int client_fail(const char *what, int r, const sd_bus_error *error)
{
    return fail_as(what, r, error, fault_of);
}

/* The daemon's texts begin with the VM's name themselves. */
static int fail_of_vm(const char *vm, int r, const sd_bus_error *error)
{
    g_autofree char *begin = g_strconcat(vm, ": ", NULL);
    sd_bus_error bare = *error;

    if (bare.message && g_str_has_prefix(bare.message, begin))
        bare.message += strlen(begin);
    if (sd_bus_error_has_name(error, SD_BUS_ERROR_UNKNOWN_OBJECT))
        bare.message = "there is no such VM";
    return fail_as(vm, r, &bare, fault_of_host);
}

int client_open(const char *address, bool ask_password, struct client *ret)
{
    struct client c = { .own_bus = address, .ask_password = ask_password };
    int r = address ? sd_bus_new(&c.bus) : sd_bus_open_system(&c.bus);

    if (r >= 0 && address) {
        r = sd_bus_set_address(c.bus, address);
        if (r >= 0)
            r = sd_bus_set_bus_client(c.bus, true);
        if (r >= 0)
            r = sd_bus_negotiate_fds(c.bus, true);
        if (r >= 0)
            r = sd_bus_start(c.bus);
    }
    if (r < 0) {
        log_error("%s cannot be reached: %s", address ?: "the system bus", strerror(-r));
        sd_bus_unref(c.bus);
        return -(int)FAULT_UNAVAILABLE;
    }
    *ret = c;
    return 0;
}

void client_close(struct client *c)
{
    c->bus = sd_bus_flush_close_unref(c->bus);
}

static int call_with_agent(struct client *c, sd_bus_message *m, const char *what, sd_bus_message **ret_reply,
        int (*fail)(const char *what, int r, const sd_bus_error *error))
{
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    pid_t agent = 0;
    int r;

    if (c->ask_password && !c->own_bus)
        (void)agent_start(&agent);
    r = sd_bus_call(c->bus, m, ACT_USEC, &error, ret_reply);
    agent_stop(agent);
    return r < 0 ? fail(what, r, &error) : 0;
}

int client_act_vm(struct client *c, const char *vm, const char *member, const char *types, ...)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
    _cleanup_free_ char *path = NULL;
    va_list args;
    int r = sd_bus_path_encode(HOST_VMS_PATH, vm, &path);

    if (r >= 0)
        r = sd_bus_message_new_method_call(c->bus, &m, HOST_NAME, path, HOST_VM_INTERFACE, member);
    if (r >= 0)
        r = sd_bus_message_set_allow_interactive_authorization(m, c->ask_password);
    va_start(args, types);
    if (r >= 0)
        r = sd_bus_message_appendv(m, types, args);
    va_end(args);
    return r < 0 ? client_fail(vm, r, NULL) : call_with_agent(c, m, vm, &reply, fail_of_vm);
}

int client_act(struct client *c, const struct client_daemon *d, const char *member,
        sd_bus_message **ret_reply, const char *types, ...)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
    va_list args;
    int r = sd_bus_message_new_method_call(c->bus, &m, d->name, d->path, d->name, member);

    if (r >= 0)
        r = sd_bus_message_set_allow_interactive_authorization(m, c->ask_password);
    va_start(args, types);
    if (r >= 0)
        r = sd_bus_message_appendv(m, types, args);
    va_end(args);
    if (r < 0)
        return client_fail(member, r, NULL);
    r = call_with_agent(c, m, member, &reply, client_fail);
    if (r >= 0 && ret_reply)
        *ret_reply = TAKE_PTR(reply);
    return r;
}

/* One value of a reply, as JSON. -ESRCH, unsaid: the daemon does not run. */
static int ask(struct client *c, const struct client_daemon *d, const char *interface, const char *member,
        json_t **ret, const char *types, ...)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    va_list args;
    int r = sd_bus_message_new_method_call(c->bus, &m, d->name, d->path, interface, member);

    va_start(args, types);
    if (r >= 0)
        r = sd_bus_message_appendv(m, types, args);
    va_end(args);
    if (r >= 0)
        r = sd_bus_call(c->bus, m, READ_USEC, &error, &reply);
    if (sd_bus_error_has_name(&error, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
            sd_bus_error_has_name(&error, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
        return -ESRCH;
    if (r >= 0)
        r = message_to_json(reply, ret);
    return r < 0 ? client_fail(member, r, &error) : 0;
}

/* For verbs that are nothing without the daemon. */
static int demand(int r, const char *member)
{
    const sd_bus_error error = SD_BUS_ERROR_MAKE_CONST(SD_BUS_ERROR_SERVICE_UNKNOWN, "nobody there");

    return r == -ESRCH ? client_fail(member, r, &error) : r;
}

static int name_reservations(json_t *rows, json_t **ret)
{
    static const char *const keys[] = { "bytes", "who", "why", "uid", "since" };
    _cleanup_json_ json_t *named = json_array();

    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *one = json_object();

        for (size_t k = 0; k < ELEMENTSOF(keys); k++)
            (void)json_object_set(one, keys[k], json_array_get(json_array_get(rows, i), k));
        if (json_array_append_new(named, one) < 0)
            return client_fail("ListReservations", -ENOMEM, NULL);
    }
    *ret = TAKE_PTR(named);
    return 0;
}

static int list_reservations(struct client *c, json_t **ret)
{
    _cleanup_json_ json_t *rows = NULL;
    int r = ask(c, &client_actuator, client_actuator.name, "ListReservations", &rows, "");

    return r < 0 ? r : name_reservations(rows, ret);
}

int client_reservations(struct client *c, json_t **ret)
{
    return demand(list_reservations(c, ret), "ListReservations");
}

static int list_decisions(struct client *c, uint32_t count, json_t **ret)
{
    return ask(c, &client_monitor, client_monitor.name, "Explain", ret, "u", count);
}

int client_explain(struct client *c, uint32_t count, json_t **ret)
{
    return demand(list_decisions(c, count, ret), "Explain");
}

/* null in the place of what has no daemon. */
static int add(json_t *state, const char *key, int r, json_t *value)
{
    if (r < 0 && r != -ESRCH)
        return r;
    return json_object_set_new(state, key, value ?: json_null()) < 0 ? client_fail(key, -ENOMEM, NULL) : 0;
}

int client_read_state(struct client *c, uint32_t decisions, json_t **ret)
{
    static const char properties[] = "org.freedesktop.DBus.Properties";
    const struct client_daemon *const daemons[] = { &client_actuator, &client_monitor };
    _cleanup_json_ json_t *state = json_object();
    json_t *value = NULL;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < ELEMENTSOF(daemons); i++) {
        r = ask(c, daemons[i], properties, "GetAll", &value, "s", daemons[i]->name);
        r = add(state, daemons[i]->key, r, TAKE_PTR(value));
    }
    if (r >= 0) {
        r = list_reservations(c, &value);
        r = add(state, "Reservations", r, TAKE_PTR(value));
    }
    if (r >= 0) {
        r = list_decisions(c, decisions, &value);
        r = add(state, "Decisions", r, TAKE_PTR(value));
    }
    if (r < 0)
        return r;
    *ret = TAKE_PTR(state);
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(state_text(*(json_t *const *)a, "Name"), state_text(*(json_t *const *)b, "Name"));
}

/* The VMs among the objects, by name. */
static json_t *sort_vms(json_t *objects)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new();
    json_t *all = json_array(), *object;
    const char *path;

    json_object_foreach(objects, path, object)
    {
        json_t *vm = json_object_get(object, HOST_VM_INTERFACE);

        if (vm)
            g_ptr_array_add(found, vm);
    }
    g_ptr_array_sort(found, compare_names);
    for (unsigned i = 0; i < found->len; i++)
        (void)json_array_append(all, g_ptr_array_index(found, i));
    return all;
}

int client_read_host(struct client *c, json_t **ret)
{
    _cleanup_json_ json_t *state = json_object(), *objects = NULL, *host = NULL;
    int r = ask(c, &client_host, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &objects, "");

    if (r >= 0)
        r = ask(c, &client_host, "org.freedesktop.DBus.Properties", "GetAll", &host, "s", HOST_INTERFACE);
    if (r < 0)
        return r == -ESRCH ? client_fail("the host's daemon", -EHOSTUNREACH,
                                     &SD_BUS_ERROR_MAKE_CONST(ERROR_NO_HOST_DAEMON, "it does not run"))
                           : r;
    if (json_object_set(state, client_host.key, host) < 0 ||
            json_object_set_new(state, "VMs", sort_vms(objects)) < 0)
        return client_fail("VMs", -ENOMEM, NULL);
    *ret = TAKE_PTR(state);
    return 0;
}
