/* SPDX-License-Identifier: MIT */
/* Domains of libvirt's that run, as VMs: named by a group with Domain=, or all of them. */
#include "host-internal.h"

#include "channel.h"

static bool has_device(const struct domain_info *info, const char *id)
{
    for (unsigned i = 0; i < info->n_devices; i++)
        if (streq(info->device[i], id))
            return true;
    return false;
}

/* Which of its devices: those that Device= names, or all. */
static int take_devices(
        struct vm_config *vm, const struct vm_config *configured, const struct domain_info *info)
{
    const struct vm_config none = { 0 }, *from = configured ?: &none;

    for (unsigned i = 0; i < from->n_devices; i++)
        if (!has_device(info, from->device[i])) {
            log_warning("%s: domain %s has no virtio-mem device with the alias %s", vm->name, vm->domain,
                    from->device[i]);
            return -ENODEV;
        }
    vm->n_devices = from->n_devices > 0 ? from->n_devices : info->n_devices;
    memcpy(vm->device, from->n_devices > 0 ? from->device : info->device, sizeof(vm->device));
    return 0;
}

/* A domain that somebody has named is to be served: what it lacks is said. */
static bool is_servable(const char *name, const struct vm_config *configured, const struct domain_info *info)
{
    bool channel = info->channel[0] != '\0' || (configured && configured->cid > 0);

    if (info->n_devices > 0 && channel)
        return true;
    if (configured && info->n_devices == 0)
        log_warning("%s: domain %s runs, but has no virtio-mem device, or more than %u", configured->name,
                name, DEVICES_MAX);
    else if (configured)
        log_warning("%s: domain %s runs, but has no channel %s of type unix, and CID= is not set",
                configured->name, name, CHANNEL_PORT_NAME);
    return false;
}

/* NULL: it is no VM of ours. */
static struct vm_config *make_vm(const struct host *h, const char *name, const struct domain_info *info)
{
    const struct vm_config *configured = host_config_find(h->config, "domain", name);
    struct vm_config *vm;

    if ((!configured && !h->config->all_domains) || !is_servable(name, configured, info))
        return NULL;
    if (!configured && (!vm_config_is_name(name) || host_config_find(h->config, "name", name))) {
        log_warning(
                "domain %s: its name is no VM's, or another VM's: a group [VM NAME] with Domain= serves it",
                name);
        return NULL;
    }
    vm = vm_config_new(configured ? configured->name : name);
    vm->domain = g_strdup(name);
    vm->cid = configured ? configured->cid : 0;
    if (vm->cid == 0)
        vm->channel = g_strdup(info->channel);
    if (configured) {
        vm->min_size = configured->min_size;
        vm->max_size = configured->max_size;
        vm->weight = configured->weight;
    }
    if (take_devices(vm, configured, info) < 0) {
        vm_config_free(vm);
        return NULL;
    }
    return vm;
}

static void on_runs(const char *name, const struct domain_info *info, void *userdata)
{
    struct host *h = userdata;
    struct vm_config *vm = make_vm(h, name, info);

    if (vm)
        g_hash_table_insert(h->domains, g_strdup(name), vm);
    else
        (void)g_hash_table_remove(h->domains, name);
}

static void on_gone(const char *name, void *userdata)
{
    struct host *h = userdata;
    const struct vm_config *vm = g_hash_table_lookup(h->domains, name);
    struct entry *e = vm ? host_entry(h, vm->name) : NULL;

    if (e)
        e->ended = true;
    (void)g_hash_table_remove(h->domains, name);
}

static void on_listed(void *userdata)
{
    struct host *h = userdata;

    h->listed = true;
}

static void on_settled(void *userdata)
{
    int r = host_vms_apply(userdata);

    if (r < 0)
        log_error("cannot take over all domains: %s", strerror(-r));
}

static const struct libvirt_ops libvirt_callbacks = {
    .runs = on_runs,
    .gone = on_gone,
    .listed = on_listed,
    .settled = on_settled,
};

int host_domains_configure(struct host *h)
{
    int r;

    if (h->libvirt) {
        /* Names and limits may be others now for those that run. */
        g_hash_table_remove_all(h->domains);
        libvirt_tell_again(h->libvirt);
        return 0;
    }
    if (!host_config_wants_libvirt(h->config))
        return 0;
    r = libvirt_new(
            h->event, h->config->libvirt_uri, h->config->pid_folder, &libvirt_callbacks, h, &h->libvirt);
    if (r < 0)
        log_error("libvirt %s: %s", h->config->libvirt_uri, strerror(-r));
    return r;
}

void host_domains_clear(struct host *h)
{
    h->libvirt = libvirt_free(h->libvirt);
    g_hash_table_unref(h->domains);
}
