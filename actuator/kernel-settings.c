/* SPDX-License-Identifier: MIT */
#include "kernel-settings.h"

#include <fcntl.h>
#include <limits.h>

#include "kernel-plan.h"
#include "kernel-setting.h"
#include "procfile.h"
#include "room.h"
#include "service.h"

/* Memory blocks come and go between two messages of the host, and each changes what the ratios reserve. */
#define LOOK_USEC (100 * USEC_PER_MSEC)
/* How long to look after the sizes have last changed: a plug or unplug that is stuck changes nothing. */
#define LOOK_FOR_USEC (5 * USEC_PER_SEC)
#define RATIOS_READ_USEC USEC_PER_SEC

struct kernel_settings {
    sd_event_source *timer;
    uint64_t boot_size;
    bool overcommit;
    bool reserve;
    struct limits limits; /* as last seen */
    bool may_hold;        /* the guard may: memory can come */
    uint64_t changed_at;
    uint64_t ratios_read;
    int zoneinfo;
    char *text; /* PROCFILE_MAX bytes, kept: there may be no memory when it is read */
    uint64_t page_size;
    struct kernel_state state;
    bool failed[_KERNEL_SETTING_MAX]; /* was logged */
    struct log_repeat ratio_log;      /* a surge moves the ratios with every few blocks */
};

/* A container has /proc/sys read-only, and an old kernel may not have a setting: log it once and go on. */
static void log_failure(struct kernel_settings *k, enum kernel_setting_id id, int error)
{
    int level = error == -ENOENT || k->failed[id] ? LOG_DEBUG : LOG_WARNING;

    k->failed[id] = true;
    log_line(level, "vm.%s cannot be changed: %s; further messages about it are suppressed",
            kernel_setting_to_string(id), strerror(-error));
}

static void restore_setting(struct kernel_settings *k, enum kernel_setting_id id, const char *why)
{
    struct kernel_numbers admin = k->state.settings[id].admin;
    int r = kernel_setting_restore(&k->state, id);

    if (r < 0)
        log_failure(k, id, r);
    else if (r > 0)
        log_info("vm.%s restored to %s: %s", kernel_setting_to_string(id), FORMAT_NUMBERS(&admin), why);
}

static uint64_t max_size(const struct kernel_settings *k)
{
    return limits_effective_max(&k->limits);
}

static void set_overcommit(struct kernel_settings *k)
{
    const enum kernel_setting_id id = KERNEL_SETTING_OVERCOMMIT;
    const struct limits *l = &k->limits;
    struct kernel_numbers admin, wanted = { .n = 1 };
    int r = kernel_setting_admin(&k->state, id, &admin);

    if (r >= 0 && admin.n != 1)
        r = -EBADMSG;
    if (r < 0) {
        log_failure(k, id, r);
        return;
    }
    wanted.values[0] = kernel_plan_overcommit(l->host, l->size, max_size(k), admin.values[0]);
    if (kernel_numbers_equal(&wanted, &admin)) {
        restore_setting(k, id, l->host ? "the VM is at its max size" : "no host is connected");
        return;
    }
    r = kernel_setting_apply(&k->state, id, &wanted);
    if (r < 0)
        log_failure(k, id, r);
    else if (r > 0)
        log_info("vm.overcommit_memory set to %u (was %u): size %s may grow to %s, so allocations above "
                 "MemTotal are to succeed",
                wanted.values[0], admin.values[0], FORMAT_BYTES(l->size), FORMAT_BYTES(max_size(k)));
}

static int read_zoneinfo(const struct kernel_settings *k)
{
    size_t len;

    return k->zoneinfo < 0 ? -ENOENT : procfile_read_fd(k->zoneinfo, k->text, PROCFILE_MAX, &len);
}

static uint64_t wanted_reserve(const struct kernel_settings *k)
{
    /* Without the host's limits neither is known. Where the guard may hold nothing back, the reserve only
     * brings the OOM killer forward, by as much as it reserves (measured: 4 of 6 bursts killed, with lines 0
     * of 12). */
    return k->limits.block_size > 0 && k->reserve && k->may_hold
                   ? room_kernel_reserve(k->boot_size, k->limits.size, max_size(k))
                   : 0;
}

/* Reading the file makes the kernel calculate all reserves again: 0.7 to 1.8 ms under TCG, more than all else
 * in a surge. So what stands there is read once a second, else it is what was written. */
static int read_ratios(
        struct kernel_settings *k, struct kernel_numbers *ret_admin, struct kernel_numbers *ret_present)
{
    const enum kernel_setting_id id = KERNEL_SETTING_RESERVE_RATIO;
    const struct kernel_setting *s = &k->state.settings[id];
    uint64_t now = now_usec();
    int r;

    if (s->ours && now < k->ratios_read + RATIOS_READ_USEC) {
        *ret_admin = s->admin;
        *ret_present = s->written;
        return 0;
    }
    k->ratios_read = now;
    r = kernel_setting_admin(&k->state, id, ret_admin);
    return r < 0 ? r : kernel_setting_read(&k->state, id, ret_present);
}

/* The numbers that should stand, and what they reserve. 1: they are worth a write. */
static int plan_ratios(
        struct kernel_settings *k, uint64_t wanted, struct kernel_numbers *ret_ratios, uint64_t *ret_reserve)
{
    struct kernel_numbers admin, present, planned;
    struct kernel_zones z;
    int r = read_zoneinfo(k);

    if (r >= 0)
        r = kernel_zones_parse(k->text, k->page_size, &z);
    if (r >= 0)
        r = read_ratios(k, &admin, &present);
    if (r >= 0 && (admin.n != z.n || present.n != z.n))
        r = -EBADMSG;
    if (r < 0)
        return r;
    planned = admin;
    kernel_plan_ratios(&z, wanted, admin.values, planned.values);
    *ret_ratios = planned;
    *ret_reserve = kernel_plan_reserve(&z, planned.values);
    return kernel_numbers_equal(&planned, &admin) ||
           kernel_plan_differs(kernel_plan_reserve(&z, present.values), *ret_reserve);
}

static void set_reserve(struct kernel_settings *k)
{
    const enum kernel_setting_id id = KERNEL_SETTING_RESERVE_RATIO;
    uint64_t wanted = wanted_reserve(k), reserve;
    struct kernel_numbers ratios;
    int r = plan_ratios(k, wanted, &ratios, &reserve);

    if (r > 0)
        r = kernel_setting_apply(&k->state, id, &ratios);
    if (r < 0)
        log_failure(k, id, r);
    else if (r > 0)
        log_repeated(&k->ratio_log, now_usec(), LOG_INFO,
                "vm.lowmem_reserve_ratio set to %s: %s of the kernel zones are kept from user pages, %s are "
                "wanted (boot memory %s, size %s, max size %s)",
                FORMAT_NUMBERS(&ratios), FORMAT_BYTES(reserve), FORMAT_BYTES(wanted),
                FORMAT_BYTES(k->boot_size), FORMAT_BYTES(k->limits.size), FORMAT_BYTES(max_size(k)));
}

static void settle(struct kernel_settings *k)
{
    if (k->limits.block_size == 0)
        return;
    if (k->overcommit)
        set_overcommit(k);
    if (k->reserve)
        set_reserve(k);
}

static void arm_timer(struct kernel_settings *k, uint64_t now)
{
    const struct limits *l = &k->limits;
    bool look = k->reserve && l->size != l->requested_size && now - k->changed_at < LOOK_FOR_USEC;

    if (look)
        (void)sd_event_source_set_time(k->timer, now + LOOK_USEC);
    (void)sd_event_source_set_enabled(k->timer, look ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct kernel_settings *k = userdata;

    set_reserve(k);
    arm_timer(k, now_usec());
    return 0;
}

static bool limits_are_equal(const struct limits *a, const struct limits *b)
{
    return a->host == b->host && a->block_size == b->block_size && a->size == b->size &&
           a->requested_size == b->requested_size && limits_effective_max(a) == limits_effective_max(b);
}

void kernel_settings_update(struct kernel_settings *k, const struct limits *l, bool may_hold)
{
    if (limits_are_equal(l, &k->limits) && may_hold == k->may_hold)
        return;
    k->limits = *l;
    k->may_hold = may_hold;
    k->changed_at = now_usec();
    settle(k);
    arm_timer(k, k->changed_at);
}

void kernel_settings_configure(struct kernel_settings *k, bool overcommit, bool reserve)
{
    bool changed = overcommit != k->overcommit || reserve != k->reserve;

    k->overcommit = overcommit;
    k->reserve = reserve;
    if (!overcommit)
        restore_setting(k, KERNEL_SETTING_OVERCOMMIT, "Overcommit=keep");
    if (!reserve)
        restore_setting(k, KERNEL_SETTING_RESERVE_RATIO, "KernelReserve=no");
    if (changed)
        settle(k);
}

int kernel_settings_read_zones(
        const struct kernel_settings *k, struct zoneinfo *ret_zones, uint64_t *ret_reserve)
{
    int r = read_zoneinfo(k);

    if (r >= 0)
        r = zoneinfo_parse(k->text, k->page_size, ret_zones);
    if (r >= 0)
        *ret_reserve = wanted_reserve(k);
    return r;
}

static void restore_left(const struct kernel_settings_options *o)
{
    int r = kernel_state_restore(o->saved, o->procfs);

    if (r < 0)
        log_error("the kernel settings in %s cannot be restored: %s", o->saved, strerror(-r));
}

int kernel_settings_new(
        sd_event *event, const struct kernel_settings_options *o, struct kernel_settings **ret)
{
    struct kernel_settings *k = calloc(1, sizeof(*k));
    char path[PATH_MAX];
    int r = -ENOMEM;

    if (!k)
        return r;
    k->boot_size = o->boot_size;
    k->state.procfs = o->procfs;
    k->state.path = o->saved;
    k->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    (void)snprintf(path, sizeof(path), "%s/zoneinfo", o->procfs);
    k->zoneinfo = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    k->text = malloc(PROCFILE_MAX);
    restore_left(o);
    if (k->text)
        r = sd_event_add_time(event, &k->timer, CLOCK_MONOTONIC, 0, 10 * USEC_PER_MSEC, on_timer, k);
    if (r >= 0)
        r = sd_event_source_set_enabled(k->timer, SD_EVENT_OFF);
    if (r < 0) {
        kernel_settings_free(k);
        return r;
    }
    *ret = k;
    return 0;
}

struct kernel_settings *kernel_settings_free(struct kernel_settings *k)
{
    if (!k)
        return NULL;
    for (enum kernel_setting_id id = 0; id < _KERNEL_SETTING_MAX; id++)
        restore_setting(k, id, "the actuator ends");
    sd_event_source_disable_unref(k->timer);
    closep(&k->zoneinfo);
    free(k->text);
    free(k);
    return NULL;
}
