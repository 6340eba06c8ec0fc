/* SPDX-License-Identifier: MIT */
/* Which VMs there are: as configured, and how they come and go. */
#include "host-internal.h"

static void entry_free(void *p)
{
    struct entry *e = p;

    entry_forget(e);
    vm_free(e->vm);
    g_free(e->channel);
    g_free(e->qmp);
    g_free(e->domain);
    g_free(e);
}

void host_vms_init(struct host *h)
{
    h->entries = g_ptr_array_new_with_free_func(entry_free);
    h->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    h->by_cid = g_hash_table_new(NULL, NULL);
    h->domains = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)vm_config_free);
}

void host_vms_clear(struct host *h)
{
    host_abandon(h);
    h->door = vsock_door_free(h->door);
    g_hash_table_unref(h->by_name);
    g_hash_table_unref(h->by_cid);
    g_ptr_array_unref(h->entries);
}

struct entry *host_entry(const struct host *h, const char *name)
{
    return g_hash_table_lookup(h->by_name, name);
}

unsigned host_count(const struct host *h)
{
    return h->entries->len;
}

struct vm *host_vm(const struct host *h, unsigned i)
{
    return ((struct entry *)g_ptr_array_index(h->entries, i))->vm;
}

struct vm *host_find(const struct host *h, const char *name)
{
    const struct entry *e = host_entry(h, name);

    return e ? e->vm : NULL;
}

static struct vm_settings make_settings(const struct host_config *c, const struct vm_config *vm)
{
    struct vm_settings s = {
        .n_devices = vm->n_devices,
        .min_size = vm->min_size,
        .max_size = vm->max_size,
        .weight = vm->weight,
        .request_rate = c->request_rate,
        .request_burst = c->request_burst,
        .progress_usec = c->progress_usec,
        .stuck_usec = c->stuck_usec,
        .held_slack = c->held_slack,
    };

    g_strlcpy(s.name, vm->name, sizeof(s.name));
    memcpy(s.device, vm->device, sizeof(s.device));
    return s;
}

void entry_take_overrides(struct entry *e)
{
    struct override o;

    overrides_get(e->host->overrides, e->configured.name, &o);
    e->settings = e->configured;
    if (o.has_limits) {
        e->settings.min_size = o.min_size;
        e->settings.max_size = o.max_size;
    }
    if (o.has_weight)
        e->settings.weight = o.weight;
}

static bool is_same_vm(const struct entry *e, const struct host_config *c, const struct vm_config *vm)
{
    return g_strcmp0(e->channel, vm->channel) == 0 && g_strcmp0(e->qmp, vm->qmp) == 0 &&
           g_strcmp0(e->domain, vm->domain) == 0 && e->cid == vm->cid && e->qmp_timeout == c->qmp_timeout &&
           e->configured.n_devices == vm->n_devices &&
           memcmp(e->configured.device, vm->device, sizeof(vm->device)) == 0;
}

static int add_vm(struct host *h, const struct host_config *c, const struct vm_config *vm)
{
    struct entry *e = g_new0(struct entry, 1);
    struct vm_options options = {
        .channel = vm->channel,
        .qmp = vm->qmp,
        .domain = vm->domain,
        .libvirt = h->libvirt,
        .procfs = h->procfs,
        .qmp_timeout = c->qmp_timeout,
    };
    int r;

    e->host = h;
    e->channel = g_strdup(vm->channel);
    e->qmp = g_strdup(vm->qmp);
    e->domain = g_strdup(vm->domain);
    e->cid = vm->cid;
    e->configured = make_settings(c, vm);
    e->qmp_timeout = c->qmp_timeout;
    e->wanted = true;
    entry_take_overrides(e);
    options.settings = e->settings;
    options.remembered = host_remembered(h, vm->name);
    r = vm_new(h->event, &options, &host_vm_ops, e, &e->vm);
    if (r < 0) {
        entry_free(e);
        return r;
    }
    g_ptr_array_add(h->entries, e);
    g_hash_table_insert(h->by_name, e->configured.name, e);
    if (e->cid > 0)
        g_hash_table_insert(h->by_cid, GUINT_TO_POINTER(e->cid), e);
    if (h->ops)
        h->ops->added(e->vm, h->userdata);
    return 0;
}

static void remove_vm(struct host *h, unsigned i)
{
    struct entry *e = g_ptr_array_index(h->entries, i);
    char name[sizeof(e->configured.name)];

    memcpy(name, e->configured.name, sizeof(name));
    (void)g_hash_table_remove(h->by_name, name);
    entry_remember(e);
    if (e->cid > 0)
        (void)g_hash_table_remove(h->by_cid, GUINT_TO_POINTER(e->cid));
    g_ptr_array_remove_index_fast(h->entries, i);
    if (h->ops)
        h->ops->removed(name, h->userdata);
}

/* Those that are as they were but for their limits stay; all others go before any comes, since a name or a
 * socket may come back as another VM's. */
static void remove_unwanted(struct host *h, const GPtrArray *wanted)
{
    for (unsigned i = 0; i < h->entries->len; i++)
        ((struct entry *)g_ptr_array_index(h->entries, i))->wanted = false;
    for (unsigned i = 0; i < wanted->len; i++) {
        const struct vm_config *vm = g_ptr_array_index(wanted, i);
        struct entry *e = host_entry(h, vm->name);

        if (e)
            e->wanted = is_same_vm(e, h->config, vm);
    }
    for (unsigned i = h->entries->len; i-- > 0;)
        if (!((struct entry *)g_ptr_array_index(h->entries, i))->wanted)
            remove_vm(h, i);
}

/* Those with sockets, and the domains that run. Borrowed. */
static GPtrArray *list_wanted(const struct host *h)
{
    GPtrArray *wanted = g_ptr_array_new();
    struct vm_config *vm;
    GHashTableIter each;

    for (unsigned i = 0; i < h->config->vms->len; i++) {
        vm = g_ptr_array_index(h->config->vms, i);
        if (!vm->domain || *vm->domain == '\0')
            g_ptr_array_add(wanted, vm);
    }
    g_hash_table_iter_init(&each, h->domains);
    while (g_hash_table_iter_next(&each, NULL, (void **)&vm) && wanted->len < VMS_MAX)
        g_ptr_array_add(wanted, vm);
    return wanted;
}

int host_vms_apply(struct host *h)
{
    g_autoptr(GPtrArray) wanted = list_wanted(h);
    int r = 0;

    remove_unwanted(h, wanted);
    for (unsigned i = 0; i < wanted->len && r >= 0; i++) {
        const struct vm_config *vm = g_ptr_array_index(wanted, i);
        struct entry *e = host_entry(h, vm->name);

        if (!e) {
            r = add_vm(h, h->config, vm);
            continue;
        }
        e->ended = false;
        e->configured = make_settings(h->config, vm);
        entry_take_overrides(e);
        vm_configure(e->vm, &e->settings);
    }
    host_count_unlisted(h);
    return r;
}

static int on_enter(uint32_t cid, int fd, void *userdata)
{
    const struct host *h = userdata;
    const struct entry *e = g_hash_table_lookup(h->by_cid, GUINT_TO_POINTER(cid));

    return e ? vm_accept(e->vm, fd) : -ENOENT;
}

int host_prepare(struct host *h, const struct host_config *config, char **ret_error)
{
    uint32_t port = config->vsock_port;
    int r = 0;

    host_abandon(h);
    if (port > 0 && port != h->door_port)
        r = vsock_door_new(h->event, port, on_enter, h, &h->next_door);
    if (r < 0)
        *ret_error = g_strdup_printf("[Host] VsockPort=%u: %s%s", port, strerror(-r),
                r == -EAFNOSUPPORT ? "; the unit's drop-in for vsock allows it, see vmtide-host(8)" : "");
    return r;
}

void host_abandon(struct host *h)
{
    h->next_door = vsock_door_free(h->next_door);
}

static void take_door(struct host *h)
{
    if (h->config->vsock_port == h->door_port)
        return;
    vsock_door_free(h->door);
    h->door = TAKE_PTR(h->next_door);
    h->door_port = h->config->vsock_port;
}

int host_take_config(struct host *h, struct host_config *c)
{
    int r;

    host_config_ref(c);
    host_config_free(h->config);
    h->config = c;
    h->reserve = c->host_reserve;
    h->over_commit = c->over_commit;
    take_door(h);
    r = host_domains_configure(h);
    return r < 0 ? r : host_vms_apply(h);
}
