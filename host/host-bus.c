/* SPDX-License-Identifier: MIT */
#include "host-bus-internal.h"

#include "log.h"
#include "names.h"
#include "service.h"

/* Of each VM at most one signal in this time, of all at most so many: 1,000 a second. */
#define TELL_USEC (100 * USEC_PER_MSEC)
#define TELL_MAX 100u
/* Refused, of all VMs. */
#define REFUSED_MAX 10u

/* What was told of a VM. */
struct told {
    uint64_t size, requested_size, boot_size, min_size, max_size, total, paused_until, granted, refused;
    uint32_t weight, process, pauses;
    char state[16], level[16], agent[64];
};

struct told_vm {
    char *name;
    char *path;
    bool dirty;
    struct told told;
};

/* CLOCK_MONOTONIC to CLOCK_REALTIME; 0 and USEC_FOREVER stay. */
static uint64_t to_realtime(uint64_t usec)
{
    uint64_t now = now_usec();

    if (usec == 0 || usec == USEC_FOREVER)
        return usec;
    return usec > now ? realtime_usec() + (usec - now) : sub_floor(realtime_usec(), now - usec);
}

static void show_vm(struct host_bus *b, struct vm *vm, struct vm_shown *ret)
{
    struct vm_view v;

    vm_view(vm, &v);
    *ret = (struct vm_shown){
        .bus = b,
        .vm = vm,
        .name = v.name,
        .state = vm_life_to_string(v.life),
        .level = v.stats.time > 0 ? channel_level_to_string(v.stats.level) : "",
        .agent = v.agent,
        .pause_reason = v.pause_reason,
        .size = v.size,
        .requested_size = v.requested_size,
        .boot_size = v.boot_size,
        .min_size = v.min_size,
        .max_size = v.max_size,
        .available = v.stats.available,
        .total = v.stats.total,
        .held = v.held,
        .paused_until = to_realtime(v.paused_until),
        .weight = v.weight,
        .process = (uint32_t)v.process,
        .pauses = v.pauses,
        .last_grant = *v.last_grant,
        .last_refusal = *v.last_refusal,
        .granted = v.last_grant->time,
        .refused = v.last_refusal->time,
    };
    ret->last_grant.time = to_realtime(v.last_grant->time);
    ret->last_refusal.time = to_realtime(v.last_refusal->time);
}

struct vm *host_bus_find(const struct host_bus *b, const char *path)
{
    _cleanup_free_ char *name = NULL;

    return sd_bus_path_decode(path, HOST_VMS_PATH, &name) > 0 ? host_find(b->host, name) : NULL;
}

static int find_vm(
        sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret, sd_bus_error *error)
{
    struct host_bus *b = userdata;
    struct vm *vm = host_bus_find(b, path);

    if (!vm)
        return 0;
    show_vm(b, vm, &b->vm);
    *ret = &b->vm;
    return 1;
}

static int find_host(
        sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret, sd_bus_error *error)
{
    struct host_bus *b = userdata;
    struct host_view v;

    host_view(b->host, &v);
    b->shown = (struct host_shown){
        .bus = b,
        .version = VMTIDE_VERSION,
        .reserve = v.reserve,
        .total = v.total,
        .available = v.available,
        .promised = v.promised,
        .over_commit = v.over_commit,
        .pressure10 = v.pressure10,
        .vms = v.vms,
    };
    *ret = &b->shown;
    return streq(path, HOST_PATH);
}

static int get_grant(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const struct vm_answer *a = &((struct vm_shown *)userdata)->last_grant;

    return sd_bus_message_append(reply, "(tts)", a->time, a->size, a->text);
}

static int get_refusal(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    const struct vm_answer *a = &((struct vm_shown *)userdata)->last_refusal;

    return sd_bus_message_append(
            reply, "(ttss)", a->time, a->size, a->time > 0 ? channel_code_to_string(a->code) : "", a->text);
}

#define HOST_PROPERTY(name, type, field, flags)                                                              \
    SD_BUS_PROPERTY(name, type, NULL, offsetof(struct host_shown, field), flags)
#define VM_PROPERTY(name, type, field, flags)                                                                \
    SD_BUS_PROPERTY(name, type, NULL, offsetof(struct vm_shown, field), flags)
#define TOLD SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

static const sd_bus_vtable host_vtable[] = {
    SD_BUS_VTABLE_START(0),
    HOST_PROPERTY("Version", "s", version, SD_BUS_VTABLE_PROPERTY_CONST),
    HOST_PROPERTY("HostReserve", "t", reserve, 0),
    HOST_PROPERTY("OverCommit", "b", over_commit, 0),
    HOST_PROPERTY("Total", "t", total, 0),
    HOST_PROPERTY("Available", "t", available, 0),
    HOST_PROPERTY("Promised", "t", promised, 0),
    HOST_PROPERTY("Pressure10", "u", pressure10, 0),
    HOST_PROPERTY("VMs", "u", vms, 0),
    SD_BUS_METHOD_WITH_ARGS("GetVM", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", vm), host_method_handle,
            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

static const sd_bus_vtable vm_vtable[] = {
    SD_BUS_VTABLE_START(0),
    VM_PROPERTY("Name", "s", name, SD_BUS_VTABLE_PROPERTY_CONST),
    VM_PROPERTY("State", "s", state, TOLD),
    VM_PROPERTY("Size", "t", size, TOLD),
    VM_PROPERTY("RequestedSize", "t", requested_size, TOLD),
    VM_PROPERTY("BootSize", "t", boot_size, TOLD),
    VM_PROPERTY("MinSize", "t", min_size, TOLD),
    VM_PROPERTY("MaxSize", "t", max_size, TOLD),
    VM_PROPERTY("Weight", "u", weight, TOLD),
    VM_PROPERTY("Level", "s", level, TOLD),
    VM_PROPERTY("Available", "t", available, 0),
    VM_PROPERTY("Total", "t", total, TOLD),
    VM_PROPERTY("Agent", "s", agent, TOLD),
    VM_PROPERTY("Held", "t", held, 0),
    VM_PROPERTY("Process", "u", process, TOLD),
    VM_PROPERTY("PausedUntil", "t", paused_until, TOLD),
    VM_PROPERTY("PauseReason", "s", pause_reason, TOLD),
    SD_BUS_PROPERTY("LastGrant", "(tts)", get_grant, 0, TOLD),
    SD_BUS_PROPERTY("LastRefusal", "(ttss)", get_refusal, 0, TOLD),
    SD_BUS_METHOD_WITH_ARGS("SetLimits", SD_BUS_ARGS("t", min_size, "t", max_size, "b", persist),
            SD_BUS_NO_RESULT, host_method_vm_handle, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetWeight", SD_BUS_ARGS("u", weight, "b", persist), SD_BUS_NO_RESULT,
            host_method_vm_handle, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("RequestShrink", SD_BUS_ARGS("t", size, "s", reason), SD_BUS_NO_RESULT,
            host_method_vm_handle, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Pause", SD_BUS_ARGS("s", why, "u", seconds), SD_BUS_NO_RESULT,
            host_method_vm_handle, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS(
            "Resume", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, host_method_vm_handle, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL_WITH_ARGS("Refused", SD_BUS_ARGS("t", wanted, "s", code, "s", text), 0),
    SD_BUS_VTABLE_END,
};

static void fill_told(const struct vm_shown *s, struct told *ret)
{
    *ret = (struct told){
        .size = s->size,
        .requested_size = s->requested_size,
        .boot_size = s->boot_size,
        .min_size = s->min_size,
        .max_size = s->max_size,
        .total = s->total,
        .paused_until = s->paused_until > 0,
        .granted = s->granted,
        .refused = s->refused,
        .weight = s->weight,
        .process = s->process,
        .pauses = s->pauses,
    };
    g_strlcpy(ret->state, s->state, sizeof(ret->state));
    g_strlcpy(ret->level, s->level, sizeof(ret->level));
    g_strlcpy(ret->agent, s->agent, sizeof(ret->agent));
}

/* One name for each, with room for the NULL at the end. */
#define CHANGES_MAX 17u

static size_t find_changes(
        const struct told *a, const struct told *b, const char *ret_names[static CHANGES_MAX])
{
    static const struct {
        const char *name;
        size_t offset;
        size_t size;
    } members[] = {
#define MEMBER(name, field) { name, offsetof(struct told, field), sizeof(a->field) }
        MEMBER("State", state),
        MEMBER("Size", size),
        MEMBER("RequestedSize", requested_size),
        MEMBER("BootSize", boot_size),
        MEMBER("MinSize", min_size),
        MEMBER("MaxSize", max_size),
        MEMBER("Weight", weight),
        MEMBER("Level", level),
        MEMBER("Total", total),
        MEMBER("Agent", agent),
        MEMBER("Process", process),
        MEMBER("LastGrant", granted),
        MEMBER("LastRefusal", refused),
#undef MEMBER
    };
    size_t n = 0;

    for (size_t i = 0; i < ELEMENTSOF(members); i++)
        if (memcmp((const char *)a + members[i].offset, (const char *)b + members[i].offset,
                    members[i].size) != 0)
            ret_names[n++] = members[i].name;
    if (a->pauses != b->pauses || a->paused_until != b->paused_until) {
        ret_names[n++] = "PausedUntil";
        ret_names[n++] = "PauseReason";
    }
    ret_names[n] = NULL;
    return n;
}

static void tell_refusal(struct host_bus *b, sd_bus *bus, const struct told_vm *t, const struct vm_answer *a)
{
    uint64_t now = now_usec();

    if (now >= b->refused_at + USEC_PER_SEC) {
        b->refused_at = now;
        b->refused = 0;
    }
    if (b->refused++ < REFUSED_MAX)
        (void)sd_bus_emit_signal(bus, t->path, HOST_VM_INTERFACE, "Refused", "tss", a->size,
                channel_code_to_string(a->code), a->text);
}

static void tell(struct host_bus *b, sd_bus *bus, struct told_vm *t)
{
    const char *names[CHANGES_MAX];
    struct vm_shown shown;
    struct told now;

    show_vm(b, host_find(b->host, t->name), &shown);
    fill_told(&shown, &now);
    if (find_changes(&t->told, &now, names) == 0)
        return;
    if (t->told.refused != now.refused)
        tell_refusal(b, bus, t, &shown.last_refusal);
    t->told = now;
    (void)sd_bus_emit_properties_changed_strv(bus, t->path, HOST_VM_INTERFACE, (char **)names);
}

static void arm(struct host_bus *b)
{
    (void)sd_event_source_set_time_relative(b->timer, TELL_USEC);
    (void)sd_event_source_set_enabled(b->timer, SD_EVENT_ONESHOT);
}

/* A VM whose turn does not come now waits for the next. */
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct host_bus *b = userdata;
    sd_bus *bus = system_bus_ready(b->system);

    for (unsigned i = 0; i < TELL_MAX && !g_queue_is_empty(b->dirty); i++) {
        struct told_vm *t = g_queue_pop_head(b->dirty);

        t->dirty = false;
        if (bus)
            tell(b, bus, t);
    }
    if (!g_queue_is_empty(b->dirty))
        arm(b);
    return 0;
}

static void on_vm_changed(struct vm *vm, void *userdata)
{
    struct host_bus *b = userdata;
    struct told_vm *t;

    if (!system_bus_ready(b->system))
        return;
    t = g_hash_table_lookup(b->vms, vm_name(vm));
    if (!t || t->dirty)
        return;
    if (g_queue_is_empty(b->dirty))
        arm(b);
    t->dirty = true;
    g_queue_push_tail(b->dirty, t);
}

static void told_vm_free(void *p)
{
    struct told_vm *t = p;

    g_free(t->name);
    free(t->path);
    g_free(t);
}

static struct told_vm *add_vm(struct host_bus *b, struct vm *vm)
{
    struct told_vm *t = g_new0(struct told_vm, 1);

    t->name = g_strdup(vm_name(vm));
    if (sd_bus_path_encode(HOST_VMS_PATH, t->name, &t->path) < 0) {
        told_vm_free(t);
        return NULL;
    }
    g_hash_table_insert(b->vms, t->name, t);
    return t;
}

static void on_vm_added(struct vm *vm, void *userdata)
{
    struct host_bus *b = userdata;
    sd_bus *bus = system_bus_ready(b->system);
    struct told_vm *t = add_vm(b, vm);
    struct vm_shown shown;

    if (!bus || !t)
        return;
    show_vm(b, vm, &shown);
    fill_told(&shown, &t->told);
    (void)sd_bus_emit_object_added(bus, t->path);
}

static void on_vm_removed(const char *name, void *userdata)
{
    struct host_bus *b = userdata;
    sd_bus *bus = system_bus_ready(b->system);
    struct told_vm *t = g_hash_table_lookup(b->vms, name);

    if (!t)
        return;
    (void)g_queue_remove(b->dirty, t);
    /* All that sd_bus_emit_object_added() names. */
    if (bus)
        (void)sd_bus_emit_interfaces_removed(bus, t->path, HOST_VM_INTERFACE, "org.freedesktop.DBus.Peer",
                "org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.Properties", NULL);
    (void)g_hash_table_remove(b->vms, name);
}

static const struct host_ops host_callbacks = {
    .added = on_vm_added,
    .removed = on_vm_removed,
    .changed = on_vm_changed,
};

static int list_vms(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *error)
{
    struct host_bus *b = userdata;
    GHashTableIter each;
    struct told_vm *t;
    char **paths = g_new0(char *, g_hash_table_size(b->vms) + 1);
    size_t n = 0;

    /* sd-bus frees them by free(), which g_free() is. */
    g_hash_table_iter_init(&each, b->vms);
    while (g_hash_table_iter_next(&each, NULL, (void **)&t))
        paths[n++] = g_strdup(t->path);
    *ret = paths;
    return 0;
}

static int on_bus_opened(sd_bus *bus, void *userdata)
{
    struct host_bus *b = userdata;
    GHashTableIter each;
    struct told_vm *t;
    int r;

    g_hash_table_iter_init(&each, b->vms);
    while (g_hash_table_iter_next(&each, NULL, (void **)&t)) {
        struct vm_shown shown;

        show_vm(b, host_find(b->host, t->name), &shown);
        fill_told(&shown, &t->told);
    }
    r = sd_bus_add_fallback_vtable(bus, NULL, HOST_PATH, HOST_INTERFACE, host_vtable, find_host, b);
    if (r >= 0)
        r = sd_bus_add_fallback_vtable(bus, NULL, HOST_VMS_PATH, HOST_VM_INTERFACE, vm_vtable, find_vm, b);
    if (r >= 0)
        r = sd_bus_add_node_enumerator(bus, NULL, HOST_VMS_PATH, list_vms, b);
    return r < 0 ? r : sd_bus_add_object_manager(bus, NULL, HOST_PATH);
}

static void on_bus_lost(void *userdata)
{
    struct host_bus *b = userdata;

    authorize_cancel(b->authorize);
}

static void on_bus_name_gone(const char *name, void *userdata)
{
    struct host_bus *b = userdata;

    authorize_caller_gone(b->authorize, name);
}

static const struct system_bus_ops system_bus_callbacks = {
    .opened = on_bus_opened,
    .lost = on_bus_lost,
    .name_gone = on_bus_name_gone,
};

int host_bus_new(sd_event *event, struct host *h, const char *address, struct host_bus **ret)
{
    struct host_bus *b = g_new0(struct host_bus, 1);
    int r;

    b->host = h;
    b->vms = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, told_vm_free);
    b->dirty = g_queue_new();
    for (unsigned i = 0; i < host_count(h); i++)
        (void)add_vm(b, host_vm(h, i));
    r = authorize_new(host_methods_rules, (uid_t)-1, &b->authorize);
    if (r >= 0)
        r = sd_event_add_time(event, &b->timer, CLOCK_MONOTONIC, 0, 10 * USEC_PER_MSEC, on_timer, b);
    if (r >= 0)
        r = sd_event_source_set_enabled(b->timer, SD_EVENT_OFF);
    if (r >= 0)
        r = system_bus_new(event, address, HOST_NAME, &system_bus_callbacks, b, &b->system);
    if (r < 0) {
        host_bus_free(b);
        return r;
    }
    host_set_ops(h, &host_callbacks, b);
    *ret = b;
    return 0;
}

struct host_bus *host_bus_free(struct host_bus *b)
{
    if (!b)
        return NULL;
    host_set_ops(b->host, NULL, NULL);
    authorize_free(b->authorize);
    system_bus_free(b->system);
    sd_event_source_disable_unref(b->timer);
    g_queue_free(b->dirty);
    g_hash_table_unref(b->vms);
    g_free(b);
    return NULL;
}
