/* SPDX-License-Identifier: MIT */
#include "host-config.h"

#include <sys/socket.h>

#include "bytes.h"
#include "config.h"
#include "drop-ins.h"
#include "log.h"
#include "meminfo.h"
#include "metrics-text.h"
#include "share.h"

/* Daemons, page tables and the kernel of the host itself grow too, QEMU by some MiB for each GiB it hands
 * out. */
#define HOST_RESERVE_DEFAULT GIB(1)
/* QEMU's own: code, devices, vhost and display buffers; with TCG translated code too, which may be 1 GiB. */
#define HELD_SLACK_DEFAULT MIB(512)
#define NAME_LENGTH_MAX 63u
#define LIBVIRT_URI "qemu:///system"
#define LIBVIRT_PIDS "/run/libvirt/qemu"

/* Time-outs: under 10 ms no QEMU answers, over an hour is never. */
#define TIME_MIN (10 * USEC_PER_MSEC)
#define TIME_MAX (3600 * USEC_PER_SEC)

static const struct config_option host_options[] = {
    { "Host", "HostReserve", CONFIG_BYTES, offsetof(struct host_config, host_reserve), 0, INT64_MAX, NULL },
    { "Host", "OverCommit", CONFIG_BOOL, offsetof(struct host_config, over_commit), 0, 0, NULL },
    { "Host", "RequestRate", CONFIG_UINT, offsetof(struct host_config, request_rate), 1, 1000, NULL },
    { "Host", "RequestBurst", CONFIG_UINT, offsetof(struct host_config, request_burst), 1, 1000, NULL },
    { "Host", "QMPTimeout", CONFIG_USEC, offsetof(struct host_config, qmp_timeout), TIME_MIN, TIME_MAX,
            NULL },
    { "Host", "ProgressTimeout", CONFIG_USEC, offsetof(struct host_config, progress_usec), TIME_MIN, TIME_MAX,
            NULL },
    { "Host", "StuckTimeout", CONFIG_USEC, offsetof(struct host_config, stuck_usec), TIME_MIN, TIME_MAX,
            NULL },
    { "Host", "HeldSlack", CONFIG_BYTES, offsetof(struct host_config, held_slack), 0, INT64_MAX, NULL },
    { "Host", "VsockPort", CONFIG_UINT, offsetof(struct host_config, vsock_port), 0, UINT32_MAX - 1, NULL },
    { "Host", "LogLevel", CONFIG_ENUM, offsetof(struct host_config, log_level), 0, 0,
            &log_level_names[LOG_ERR] },
    { "Libvirt", "URI", CONFIG_STRING, offsetof(struct host_config, libvirt_uri), 0, 0, NULL },
    { "Libvirt", "AllDomains", CONFIG_BOOL, offsetof(struct host_config, all_domains), 0, 0, NULL },
    { "Libvirt", "PidFolder", CONFIG_PATH, offsetof(struct host_config, pid_folder), 0, 0, NULL },
    { "Metrics", "Listen", CONFIG_STRING, offsetof(struct host_config, metrics_listen), 0, 0, NULL },
    { NULL, NULL, _CONFIG_TYPE_INVALID, 0, 0, 0, NULL },
};

/* The group is "VM NAME", so its name stands in no row; the table is looked up by key. */
static const struct config_option vm_options[] = {
    { "VM", "Channel", CONFIG_PATH, offsetof(struct vm_config, channel), 0, 0, NULL },
    { "VM", "CID", CONFIG_UINT, offsetof(struct vm_config, cid), 1, UINT32_MAX - 1, NULL },
    { "VM", "QMP", CONFIG_PATH, offsetof(struct vm_config, qmp), 0, 0, NULL },
    { "VM", "Domain", CONFIG_STRING, offsetof(struct vm_config, domain), 0, 0, NULL },
    { "VM", "Device", CONFIG_STRING, offsetof(struct vm_config, devices), 0, 0, NULL },
    { "VM", "MinSize", CONFIG_BYTES, offsetof(struct vm_config, min_size), 0, INT64_MAX, NULL },
    { "VM", "MaxSize", CONFIG_BYTES, offsetof(struct vm_config, max_size), 0, INT64_MAX, NULL },
    { "VM", "Weight", CONFIG_UINT, offsetof(struct vm_config, weight), 1, SHARE_WEIGHT_MAX, NULL },
    { NULL, NULL, _CONFIG_TYPE_INVALID, 0, 0, 0, NULL },
};

void vm_config_free(struct vm_config *vm)
{
    if (!vm)
        return;
    config_clear(vm_options, vm);
    g_free(vm->name);
    g_free(vm);
}

struct host_config *host_config_free(struct host_config *c)
{
    if (!c || --c->refs > 0)
        return NULL;
    g_hash_table_unref(c->taken);
    g_ptr_array_unref(c->vms);
    config_clear(host_options, c);
    g_free(c);
    return NULL;
}

struct host_config *host_config_ref(struct host_config *c)
{
    c->refs++;
    return c;
}

static struct host_config *config_defaults(void)
{
    struct host_config *c = g_new0(struct host_config, 1);

    c->host_reserve = HOST_RESERVE_DEFAULT;
    c->request_rate = 10;
    c->request_burst = 20;
    c->qmp_timeout = 5 * USEC_PER_SEC;
    c->progress_usec = 5 * USEC_PER_SEC;
    c->stuck_usec = 30 * USEC_PER_SEC;
    c->held_slack = HELD_SLACK_DEFAULT;
    c->log_level = LOG_INFO - LOG_ERR;
    c->libvirt_uri = g_strdup(LIBVIRT_URI);
    c->pid_folder = g_strdup(LIBVIRT_PIDS);
    c->vms = g_ptr_array_new_with_free_func((GDestroyNotify)vm_config_free);
    c->taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    c->refs = 1;
    return c;
}

/* Letters, digits, '-', '_' and '.': what QEMU takes for an id, and what needs no quoting in JSON or in the
 * log. */
static bool is_word(const char *s)
{
    size_t n = strlen(s);

    if (n == 0 || n > NAME_LENGTH_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!g_ascii_isalnum(s[i]) && !strchr("-_.", s[i]))
            return false;
    return true;
}

bool vm_config_is_name(const char *name)
{
    return is_word(name);
}

struct vm_config *vm_config_new(const char *name)
{
    struct vm_config *vm = g_new0(struct vm_config, 1);

    vm->name = g_strdup(name);
    vm->max_size = UINT64_MAX;
    vm->weight = SHARE_WEIGHT_DEFAULT;
    return vm;
}

static struct vm_config *add_vm(struct host_config *c, const char *name)
{
    struct vm_config *vm = vm_config_new(name);

    g_ptr_array_add(c->vms, vm);
    return vm;
}

static int on_group(
        const char *group, void *userdata, const struct config_option **ret_table, void **ret_target)
{
    if (!g_str_has_prefix(group, "VM "))
        return -ENOENT;
    *ret_target = add_vm(userdata, group + strlen("VM "));
    *ret_table = vm_options;
    return 0;
}

static const struct config_option *find_option(const char *name)
{
    static const struct {
        const char *name;
        const char *key;
    } names[] = {
        { "channel", "Channel" },
        { "cid", "CID" },
        { "qmp", "QMP" },
        { "domain", "Domain" },
        { "device", "Device" },
        { "min", "MinSize" },
        { "max", "MaxSize" },
        { "weight", "Weight" },
    };

    for (size_t i = 0; i < ELEMENTSOF(names); i++)
        for (const struct config_option *o = vm_options; streq(names[i].name, name) && o->group; o++)
            if (streq(o->key, names[i].key))
                return o;
    return NULL;
}

/* One "key=value" of --vm. */
static int set_adhoc(struct vm_config *vm, const char *part, uint32_t *seen, char **ret_error)
{
    const char *equals = strchr(part, '=');
    g_autofree char *key = equals ? g_strndup(part, (gsize)(equals - part)) : NULL;
    const struct config_option *o = key ? find_option(key) : NULL;

    if (!o) {
        *ret_error = g_strdup_printf(
                "'%s' is none of channel=, cid=, qmp=, domain=, device=, min=, max=, weight=", part);
        return -EINVAL;
    }
    if (*seen & (1u << (o - vm_options))) {
        *ret_error = g_strdup_printf("%s= is there twice", key);
        return -EINVAL;
    }
    *seen |= 1u << (o - vm_options);
    return config_set(o, vm, equals + 1, ret_error);
}

static int add_adhoc(struct host_config *c, const char *text, char **ret_error)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", 0);
    uint32_t seen = 0;
    struct vm_config *vm = add_vm(c, parts[0] ?: "");

    for (unsigned i = 1; parts[0] && parts[i]; i++) {
        int r = set_adhoc(vm, parts[i], &seen, ret_error);

        if (r < 0)
            return r;
    }
    return 0;
}

static int split_devices(struct vm_config *vm, char **ret_error)
{
    g_auto(GStrv) ids = g_strsplit_set(vm->devices ?: "", " +\t", 0);

    for (unsigned i = 0; ids[i]; i++) {
        if (ids[i][0] == '\0')
            continue;
        if (!is_word(ids[i]) || vm->n_devices == DEVICES_MAX) {
            *ret_error = g_strdup_printf("VM %s: Device=%s: '%s' is not the id of a device, or more than %u",
                    vm->name, vm->devices, ids[i], DEVICES_MAX);
            return -EINVAL;
        }
        for (unsigned k = 0; k < vm->n_devices; k++)
            if (streq(vm->device[k], ids[i])) {
                *ret_error = g_strdup_printf(
                        "VM %s: Device=%s: '%s' is there twice", vm->name, vm->devices, ids[i]);
                return -EINVAL;
            }
        g_strlcpy(vm->device[vm->n_devices++], ids[i], DEVICE_ID_MAX);
    }
    return 0;
}

static int fail(char **ret_error, const char *format, ...) _printf_(2, 3);
static int fail(char **ret_error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    *ret_error = g_strdup_vprintf(format, args);
    va_end(args);
    return -EINVAL;
}

static bool is_set(const char *text)
{
    return text && *text != '\0';
}

/* 1 is the guest itself, and so this machine when it tries the way; 2 is the host. */
static int check_cid(const struct vm_config *vm, char **ret_error)
{
    return vm->cid == 2 ? fail(ret_error, "VM %s: CID=2 is the host's own, a guest's is 3 or more", vm->name)
                        : 0;
}

/* Sockets, or a domain that says them. */
static int check_way(const struct vm_config *vm, char **ret_error)
{
    const char *missing = !is_set(vm->channel) && vm->cid == 0 ? "Channel="
                          : !is_set(vm->qmp)                   ? "QMP="
                                                               : "Device=";

    if (is_set(vm->domain)) {
        if (is_set(vm->channel) || is_set(vm->qmp))
            return fail(ret_error, "VM %s: Domain=%s goes without Channel= and QMP=, which libvirt knows",
                    vm->name, vm->domain);
        if (!VMTIDE_LIBVIRT)
            return fail(ret_error, "VM %s: Domain=%s: this vmtide-host was built without libvirt", vm->name,
                    vm->domain);
        return 0;
    }
    if (is_set(vm->channel) && vm->cid > 0)
        return fail(ret_error, "VM %s: Channel= or CID=, not both", vm->name);
    if ((!is_set(vm->channel) && vm->cid == 0) || !is_set(vm->qmp) || vm->n_devices == 0)
        return fail(ret_error, "VM %s: %s is missing", vm->name, missing);
    if (is_set(vm->channel) && streq(vm->channel, vm->qmp))
        return fail(ret_error, "VM %s: %s is there twice", vm->name, vm->qmp);
    return 0;
}

static int check_vm(struct vm_config *vm, char **ret_error)
{
    int r;

    if (!is_word(vm->name))
        return fail(ret_error, "VM '%s': a name is 1 to %u letters, digits, '-', '_' or '.'", vm->name,
                NAME_LENGTH_MAX);
    r = split_devices(vm, ret_error);
    if (r >= 0)
        r = check_cid(vm, ret_error);
    if (r >= 0)
        r = check_way(vm, ret_error);
    if (r >= 0 && vm->min_size > vm->max_size)
        return fail(ret_error, "VM %s: min size %s is above max size %s", vm->name,
                FORMAT_BYTES(vm->min_size), FORMAT_BYTES(vm->max_size));
    return r;
}

const struct vm_config *host_config_find(const struct host_config *c, const char *what, const char *value)
{
    g_autofree char *key = g_strdup_printf("%s %s", what, value);

    return g_hash_table_lookup(c->taken, key);
}

/* Two VMs on one socket would wait for each other for ever. */
static int take(
        struct host_config *c, struct vm_config *vm, const char *what, const char *value, char **ret_error)
{
    const struct vm_config *other;

    if (!is_set(value))
        return 0;
    other = host_config_find(c, what, value);
    if (other)
        return fail(ret_error, "VM %s and VM %s: %s is there twice", vm->name, other->name, value);
    g_hash_table_insert(c->taken, g_strdup_printf("%s %s", what, value), vm);
    return 0;
}

/* The last one against itself and those before it. */
static int check_last(struct host_config *c, unsigned n, char **ret_error)
{
    struct vm_config *vm = g_ptr_array_index(c->vms, n - 1);
    char cid[16];
    int r = check_vm(vm, ret_error);

    if (r >= 0 && n > VMS_MAX)
        r = fail(ret_error, "%u VMs are more than %u", n, VMS_MAX);
    if (r >= 0)
        r = take(c, vm, "name", vm->name, ret_error);
    if (r >= 0)
        r = take(c, vm, "path", vm->channel, ret_error);
    if (r >= 0)
        r = take(c, vm, "path", vm->qmp, ret_error);
    if (r >= 0)
        r = take(c, vm, "domain", vm->domain, ret_error);
    if (r < 0 || vm->cid == 0)
        return r;
    (void)snprintf(cid, sizeof(cid), "%u", vm->cid);
    return take(c, vm, "CID", cid, ret_error);
}

bool host_config_wants_libvirt(const struct host_config *c)
{
    for (unsigned i = 0; i < c->vms->len; i++)
        if (is_set(((const struct vm_config *)g_ptr_array_index(c->vms, i))->domain))
            return true;
    return c->all_domains;
}

/* One file, and the VMs that it adds against all before. */
static int load_file(
        const char *path, const struct config_option *table, struct host_config *c, char **ret_error)
{
    unsigned before = c->vms->len;
    int r = config_load(path, table, c, on_group, c, ret_error);

    for (unsigned n = before + 1; r >= 0 && n <= c->vms->len; n++) {
        g_autofree char *error = NULL;

        r = check_last(c, n, &error);
        if (r < 0)
            *ret_error = g_strdup_printf("%s: %s", path, error);
    }
    return r;
}

/* Drop-ins add VMs, and nothing else: what holds for all of them stands in one place. */
static int load_drop_ins(const char *path, struct host_config *c, char **ret_error)
{
    static const struct config_option none = { NULL, NULL, _CONFIG_TYPE_INVALID, 0, 0, 0, NULL };
    g_autofree char *folder = drop_ins_folder(path);
    g_autoptr(GPtrArray) names = NULL;
    int r = drop_ins_list(folder, &names, ret_error);

    for (unsigned i = 0; r >= 0 && i < names->len; i++) {
        g_autofree char *file = g_build_filename(folder, g_ptr_array_index(names, i), NULL);

        r = load_file(file, &none, c, ret_error);
    }
    return r;
}

static int check_libvirt(const struct host_config *c, char **ret_error)
{
    return c->all_domains && !VMTIDE_LIBVIRT
                   ? fail(ret_error, "[Libvirt] AllDomains=yes: this vmtide-host was built without libvirt")
                   : 0;
}

static int check_metrics(const struct host_config *c, char **ret_error)
{
    const char *address = c->metrics_listen;
    struct sockaddr_storage where;
    bool local;

    if (!address || *address == '\0')
        return 0;
    if (!VMTIDE_METRICS) {
        *ret_error = g_strdup_printf(
                "[Metrics] Listen=%s: this vmtide-host was built without libmicrohttpd", address);
        return -EOPNOTSUPP;
    }
    if (metrics_parse_address(address, &where, &local) >= 0)
        return 0;
    *ret_error = g_strdup_printf(
            "[Metrics] Listen=%s: not an address with a port, such as 127.0.0.1:9811 or [::1]:9811", address);
    return -EINVAL;
}

int host_config_load(const char *path, struct host_config **ret, char **ret_error)
{
    _cleanup_(host_config_freep) struct host_config *c = config_defaults();
    int r = path ? load_file(path, host_options, c, ret_error) : 0;

    if (r >= 0 && path)
        r = load_drop_ins(path, c, ret_error);
    if (r >= 0)
        r = check_metrics(c, ret_error);
    if (r >= 0)
        r = check_libvirt(c, ret_error);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(c);
    return 0;
}

int host_config_add_vms(struct host_config *c, char *const *adhoc, char **ret_error)
{
    for (unsigned i = 0; adhoc && adhoc[i]; i++) {
        g_autofree char *error = NULL;
        int r = add_adhoc(c, adhoc[i], &error);

        if (r >= 0)
            r = check_last(c, c->vms->len, &error);
        if (r < 0) {
            *ret_error = g_strdup_printf(
                    "--vm=%s: %s; expected is NAME,channel=PATH,qmp=PATH,device=ID[+ID...]"
                    "[,min=SIZE][,max=SIZE][,weight=N], for instance guest1,channel=/run/vms/guest1.sock,"
                    "qmp=/run/vms/guest1-qmp.sock,device=vm0,max=8G",
                    adhoc[i], error);
            return r;
        }
    }
    return 0;
}

int host_config_check_vsock(const struct host_config *c, char **ret_error)
{
    for (unsigned i = 0; i < c->vms->len && c->vsock_port == 0; i++) {
        const struct vm_config *vm = g_ptr_array_index(c->vms, i);

        if (vm->cid > 0)
            return fail(ret_error,
                    "VM %s: CID=%u: nobody listens on vsock without [Host] VsockPort=", vm->name, vm->cid);
    }
    return 0;
}

int host_config_check_reserve(uint64_t reserve, const char *meminfo, char **ret_error)
{
    struct meminfo m;

    if (meminfo_read(meminfo, &m) < 0 || reserve <= m.total)
        return 0;
    *ret_error =
            g_strdup_printf("a host reserve of %s is more than this host's memory, %s: nothing could ever be "
                            "granted",
                    FORMAT_BYTES(reserve), FORMAT_BYTES(m.total));
    return -ERANGE;
}
