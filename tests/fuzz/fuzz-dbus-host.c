/* SPDX-License-Identifier: MIT */
/* D-Bus calls with any arguments at the host: org.vmtide.Host1, its VMs and what it shows of its log. No QEMU
 * is there: limits, weights and pauses are taken over without one. */
#include "bus.h"

#include "host-bus.h"
#include "log.h"
#include "names.h"
#include "share.h"

static const struct fuzz_method methods[] = {
    { HOST_VM_INTERFACE, "SetLimits", "ttb", FUZZ_ADMIN },
    { HOST_VM_INTERFACE, "SetWeight", "ub", FUZZ_ADMIN },
    { HOST_VM_INTERFACE, "RequestShrink", "ts", FUZZ_ADMIN },
    { HOST_VM_INTERFACE, "Pause", "su", FUZZ_ADMIN },
    { HOST_VM_INTERFACE, "Resume", "", FUZZ_ADMIN },
    { HOST_INTERFACE, "GetVM", "s", FUZZ_ANYBODY },
    { "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "", FUZZ_ANYBODY },
    { "org.freedesktop.DBus.Introspectable", "Introspect", "", FUZZ_ANYBODY },
    FUZZ_PROPERTIES(FUZZ_ROOT),
    { NULL, NULL, NULL, FUZZ_ANYBODY },
};
static const char *const paths[] = { HOST_VMS_PATH "/one", HOST_VMS_PATH "/zwei_2dtwo", HOST_PATH,
    HOST_VMS_PATH, HOST_VMS_PATH "/three", HOST_VMS_PATH "/_zz", FUZZ_LOG_PATH, NULL };
static const char *const words[] = { HOST_VM_INTERFACE, HOST_INTERFACE, "one", "zwei-two", "HostReserve",
    "Total", "OverCommit", "VMs", "State", "Size", "Level", "LastGrant", "LastRefusal", "PauseReason",
    "PausedUntil", FUZZ_LOG_WORDS, "debug", "\001", NULL };

static struct host *host;

static void start(void)
{
    static struct host_bus *bus;
    static const struct fuzz_target target = {
        .methods = methods,
        .paths = paths,
        .words = words,
        .monitor_uid = 4711,
    };
    g_autofree char *one = fuzz_in_folder("one"), *two = fuzz_in_folder("two");
    g_autofree char *limits = fuzz_in_folder("limits");
    g_autofree char *first = g_strdup_printf("one,channel=%s,qmp=%s-qmp,device=vm0,max=4G", one, one);
    g_autofree char *second = g_strdup_printf("zwei-two,channel=%s,qmp=%s-qmp,device=vm0+vm1", two, two);
    char *const vms[] = { first, second, NULL };
    struct host_config *config;
    char *error = NULL;
    sd_event *event;

    log_set_max_level(LOG_EMERG);
    FUZZ_CHECK(host_config_load(NULL, &config, &error) >= 0 && host_config_add_vms(config, vms, &error) >= 0);
    FUZZ_CHECK(sd_event_new(&event) >= 0);
    FUZZ_CHECK(host_new(event, config, "/proc", limits, NULL, &host) >= 0);
    FUZZ_CHECK(host_bus_new(event, host, fuzz_bus_listen(event), &bus) >= 0);
    fuzz_bus_meet(&target);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!host)
        start();
    fuzz_bus_run(data, size);
    FUZZ_CHECK(host_count(host) == 2);
    for (unsigned i = 0; i < host_count(host); i++) {
        struct vm_view v;

        vm_view(host_vm(host, i), &v);
        FUZZ_CHECK(v.min_size <= v.max_size && v.weight >= 1 && v.weight <= SHARE_WEIGHT_MAX);
        FUZZ_CHECK(
                g_utf8_validate(v.pause_reason, -1, NULL) && (v.paused_until > 0 || *v.pause_reason == '\0'));
    }
    return 0;
}
