/* SPDX-License-Identifier: MIT */
#include "host-internal.h"

#include "bytes.h"
#include "meminfo.h"
#include "pressure.h"
#include "promise-store.h"
#include "service.h"

/* Those who wait for room look at numbers of up to this age: with many of them the host is not read for each.
 */
#define STALE_USEC (500 * USEC_PER_MSEC)
/* A request uses numbers of up to this age for each VM: reading a statm takes some 2 µs, so that at most a
 * twelfth of the time goes into it at any rate of requests. 1,000 VMs: 25 ms. Later grants are subtracted
 * exactly. */
#define STALE_VM_USEC 25u
/* With shared memory the daemon also reads files of QEMU's cgroup, whose cost depends on the kernel. It
 * measures the CPU time of a reading and uses the numbers for this many times as long. */
#define STALE_PARTS 12u
/* How often the host's own pressure is looked at, and how often while somebody lacks memory. */
#define LOOK_USEC (10 * USEC_PER_SEC)
#define LOOK_SHORT_USEC USEC_PER_SEC
/* From a refusal to the first look: others that are refused in the same moment count too. */
#define LOOK_SOON_USEC (100 * USEC_PER_MSEC)

/* The file of promises is written this long after a promise has changed by this much; each page that a guest
 * touches changes its promise. */
#define SAVE_USEC USEC_PER_SEC
#define SAVE_LEAST MIB(16)

static void update_entry(struct entry *e, uint64_t promised, bool claims)
{
    struct host *h = e->host;

    h->promised += promised;
    h->promised -= e->promised;
    e->promised = promised;
    if (claims && !e->claims)
        g_ptr_array_add(h->claimants, e);
    else if (!claims && e->claims)
        g_ptr_array_remove_fast(h->claimants, e);
    e->claims = claims;
}

void entry_forget(struct entry *e)
{
    update_entry(e, 0, false);
}

uint64_t host_remembered(const struct host *h, const char *name)
{
    const uint64_t *bytes = g_hash_table_lookup(h->remembered, name);

    return bytes ? *bytes : 0;
}

static void remember(const struct entry *e)
{
    uint64_t bytes = e->ended ? 0 : vm_promised(e->vm);

    g_hash_table_insert(e->host->remembered, g_strdup(e->configured.name), g_memdup2(&bytes, sizeof(bytes)));
}

static gboolean has_no_vm(void *name, void *bytes, void *userdata)
{
    return host_entry(userdata, name) == NULL;
}

/* Whether the name may be that of a domain which libvirt has not reported as running. */
static gboolean is_unlisted(void *name, void *bytes, void *userdata)
{
    const struct host *h = userdata;
    const struct vm_config *vm = host_config_find(h->config, "name", name);

    return has_no_vm(name, bytes, userdata) && (vm ? vm->domain != NULL : h->config->all_domains);
}

static void save_promises(struct host *h)
{
    g_autofree char *error = NULL;

    (void)sd_event_source_set_enabled(h->save, SD_EVENT_OFF);
    if (!h->promises)
        return;
    for (unsigned i = 0; i < h->entries->len; i++)
        remember(g_ptr_array_index(h->entries, i));
    /* The record of a domain stays until libvirt has listed the domain, within the limit of the file. */
    if (g_hash_table_size(h->remembered) > VMS_MAX)
        (void)g_hash_table_foreach_remove(h->remembered, has_no_vm, h);
    if (promise_store_write(h->promises, h->remembered, &error) < 0)
        log_repeated(&h->log_save, now_usec(), LOG_WARNING,
                "cannot write %s: %s; after a restart no memory counts as promised to a VM until its QEMU "
                "replies",
                h->promises, error);
}

static int on_save(sd_event_source *source, uint64_t usec, void *userdata)
{
    save_promises(userdata);
    return 0;
}

static void save_soon(struct host *h)
{
    int enabled;

    if (!h->promises || sd_event_source_get_enabled(h->save, &enabled) < 0 || enabled != SD_EVENT_OFF)
        return;
    (void)sd_event_source_set_time(h->save, now_usec() + SAVE_USEC);
    (void)sd_event_source_set_enabled(h->save, SD_EVENT_ONESHOT);
}

/* After a restart libvirtd may hang: the recorded promises of domains count until libvirt has listed the
 * running domains. A domain that it does not list has ended. */
void host_count_unlisted(struct host *h)
{
    const uint64_t *bytes;
    GHashTableIter each;
    char *name;

    h->unlisted = 0;
    if (!h->libvirt)
        return;
    if (h->listed) {
        if (g_hash_table_foreach_remove(h->remembered, is_unlisted, h) > 0)
            save_soon(h);
        return;
    }
    g_hash_table_iter_init(&each, h->remembered);
    while (g_hash_table_iter_next(&each, (void **)&name, (void **)&bytes))
        if (is_unlisted(name, NULL, h))
            h->unlisted += *bytes;
}

void entry_remember(const struct entry *e)
{
    remember(e);
    save_soon(e->host);
}

void entry_changed(struct entry *e)
{
    uint64_t promised = vm_promised(e->vm), saved = host_remembered(e->host, e->configured.name);

    update_entry(e, promised, vm_claims(e->vm));
    if (MAX_OF(promised, saved) - MIN_OF(promised, saved) >= SAVE_LEAST)
        save_soon(e->host);
}

static void on_changed(void *userdata)
{
    struct entry *e = userdata;

    /* It is being made. */
    if (!e->vm)
        return;
    entry_changed(e);
    if (e->host->ops)
        e->host->ops->changed(e->vm, e->host->userdata);
}

static uint64_t cpu_usec(void)
{
    struct timespec t;

    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) < 0)
        return 0;
    return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}

static void read_entries(struct host *h)
{
    uint64_t begun = cpu_usec();

    g_hash_table_remove_all(h->processes);
    for (unsigned i = 0; i < h->entries->len; i++) {
        struct entry *e = g_ptr_array_index(h->entries, i);
        pid_t process = vm_process(e->vm);

        /* The memory of a process that serves two VMs counts for one of them. */
        vm_read_memory(e->vm, process > 0 && g_hash_table_add(h->processes, GINT_TO_POINTER(process)));
        entry_changed(e);
    }
    h->read_cost = sub_floor(cpu_usec(), begun);
}

/* The maximum age (µs) at which the numbers of the host are used. */
static uint64_t stale_usec(const struct host *h, bool fresh)
{
    uint64_t usec = fresh ? MIN_OF(STALE_VM_USEC * (uint64_t)h->entries->len, STALE_USEC) : STALE_USEC;

    return MAX_OF(usec, STALE_PARTS * h->read_cost);
}

static uint64_t all_promised(const struct host *h)
{
    return (uint64_t)MIN_OF(h->promised + h->unlisted, (unsigned __int128)UINT64_MAX);
}

static uint64_t promised(const struct host *h)
{
    return h->over_commit ? 0 : all_promised(h);
}

static void read_numbers(struct host *h)
{
    struct pressure p;
    struct meminfo m;
    int r = meminfo_read(h->meminfo, &m);

    h->numbers = (struct balance_host){ .numbers = { .known = r >= 0, .reserve = h->reserve } };
    h->read_at = now_usec();
    if (r < 0) {
        log_repeated(&h->log_meminfo, h->read_at, LOG_ERR, "cannot read %s: %s; no growth is granted",
                h->meminfo, strerror(-r));
        return;
    }
    h->numbers.numbers.available = m.available;
    h->numbers.total = m.total;
    read_entries(h);
    h->numbers.numbers.promised = promised(h);
    if (pressure_read(h->pressure, &p) < 0)
        return;
    h->numbers.have_pressure = true;
    h->numbers.pressure10 = p.some.avg10;
}

static const struct share_vm *read_shares(struct host *h, const GPtrArray *entries)
{
    g_array_set_size(h->shares, entries->len);
    for (unsigned i = 0; i < entries->len; i++) {
        struct entry *e = g_ptr_array_index(entries, i);

        vm_share(e->vm, &g_array_index(h->shares, struct share_vm, i));
    }
    return &g_array_index(h->shares, struct share_vm, 0);
}

static void look_at(struct host *h, uint64_t at)
{
    (void)sd_event_source_set_time(h->timer, at);
    (void)sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT);
}

/* Somebody lacks memory: soon, but not more often than each second, however many ask. */
static void look_soon(struct host *h)
{
    uint64_t now = now_usec(), at = MAX_OF(now + LOOK_SOON_USEC, h->looked_at + LOOK_SHORT_USEC), due;

    if (sd_event_source_get_time(h->timer, &due) >= 0 && due > at)
        look_at(h, at);
}

static void on_budget(struct grant_host *ret, bool fresh, void *userdata)
{
    struct entry *e = userdata;
    struct host *h = e->host;
    const struct share_vm *shares;
    unsigned i = 0;

    entry_changed(e);
    if (now_usec() - h->read_at >= stale_usec(h, fresh))
        read_numbers(h);
    h->numbers.numbers.promised = promised(h);
    *ret = h->numbers.numbers;
    /* Its claim counts only beside those of others: who claims nothing needs no share. */
    if (!g_ptr_array_find(h->claimants, e, &i))
        return;
    shares = read_shares(h, h->claimants);
    ret->held = balance_held(&h->numbers, shares, h->claimants->len, i);
    if (shares[i].claim > grant_spendable(ret))
        look_soon(h);
}

static void on_granted(uint64_t usec, void *userdata)
{
    struct entry *e = userdata;

    histogram_add(&e->host->grants, usec);
}

const struct histogram *host_grants(const struct host *h)
{
    return &h->grants;
}

const struct vm_ops host_vm_ops = {
    .budget = on_budget,
    .changed = on_changed,
    .granted = on_granted,
};

/* Asks back what is missing from those who have more than they need. */
static int on_look(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct host *h = userdata;
    const struct share_vm *shares;
    g_autofree uint64_t *ask = g_new(uint64_t, h->entries->len + 1);
    uint64_t wanted;

    read_numbers(h);
    shares = read_shares(h, h->entries);
    wanted = balance_wanted(&h->numbers, shares, h->entries->len);
    share_ask(shares, h->entries->len, wanted, ask);
    for (unsigned i = 0; i < h->entries->len; i++)
        if (ask[i] > 0)
            (void)vm_ask_spare(((struct entry *)g_ptr_array_index(h->entries, i))->vm, ask[i]);
    h->looked_at = now_usec();
    look_at(h, h->looked_at + (wanted > 0 ? LOOK_SHORT_USEC : LOOK_USEC));
    return 0;
}

void host_view(struct host *h, struct host_view *ret)
{
    if (h->read_at == 0)
        read_numbers(h);
    *ret = (struct host_view){
        .total = h->numbers.total,
        .available = h->numbers.numbers.available,
        .reserve = h->reserve,
        .promised = all_promised(h),
        .pressure10 = h->numbers.pressure10,
        .pressure_known = h->numbers.have_pressure,
        .over_commit = h->over_commit,
        .vms = h->entries->len,
    };
}

void host_set_ops(struct host *h, const struct host_ops *ops, void *userdata)
{
    h->ops = ops;
    h->userdata = userdata;
}

int host_new(sd_event *event, struct host_config *config, const char *procfs, const char *overrides,
        const char *promises, struct host **ret)
{
    struct host *h = g_new0(struct host, 1);
    g_autofree char *error = NULL;
    int r;

    h->event = sd_event_ref(event);
    h->procfs = g_strdup(procfs);
    h->meminfo = g_strdup_printf("%s/meminfo", procfs);
    h->pressure = g_strdup_printf("%s/pressure/memory", procfs);
    h->claimants = g_ptr_array_new();
    h->processes = g_hash_table_new(NULL, NULL);
    h->shares = g_array_new(false, true, sizeof(struct share_vm));
    h->overrides = overrides_new(overrides);
    h->promises = g_strdup(promises);
    h->remembered = promise_store_read(promises);
    host_vms_init(h);
    r = sd_event_add_time_relative(event, &h->timer, CLOCK_MONOTONIC, LOOK_USEC, LOOK_SOON_USEC, on_look, h);
    if (r >= 0)
        r = sd_event_add_time(event, &h->save, CLOCK_MONOTONIC, 0, LOOK_SOON_USEC, on_save, h);
    if (r >= 0)
        r = sd_event_source_set_enabled(h->save, SD_EVENT_OFF);
    if (r >= 0)
        r = host_prepare(h, config, &error);
    if (r < 0 && error)
        log_error("%s", error);
    if (r >= 0)
        r = host_take_config(h, config);
    if (r < 0) {
        host_free(h);
        return r;
    }
    *ret = h;
    return 0;
}

struct host *host_free(struct host *h)
{
    if (!h)
        return NULL;
    h->ops = NULL;
    if (h->save)
        save_promises(h);
    host_vms_clear(h);
    host_domains_clear(h);
    host_config_free(h->config);
    g_ptr_array_unref(h->claimants);
    g_array_unref(h->shares);
    overrides_free(h->overrides);
    g_hash_table_unref(h->remembered);
    g_hash_table_unref(h->processes);
    g_free(h->promises);
    sd_event_source_disable_unref(h->save);
    sd_event_source_disable_unref(h->timer);
    sd_event_unref(h->event);
    g_free(h->procfs);
    g_free(h->meminfo);
    g_free(h->pressure);
    g_free(h);
    return NULL;
}

void host_configure(struct host *h, struct host_config *config)
{
    int r = host_take_config(h, config);

    if (r < 0)
        log_error("cannot take over all of the new configuration: %s", strerror(-r));
}
