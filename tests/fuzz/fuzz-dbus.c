/* SPDX-License-Identifier: MIT */
/* D-Bus calls with any arguments at the actuator: org.vmtide.Actuator1 on its private socket and on the bus,
 * and what it shows of its log. There is no host and no device: what gets past the checks ends there. */
#include "bus.h"

#include "actuator-bus.h"
#include "log.h"
#include "names.h"

static const struct fuzz_method methods[] = {
    { ACTUATOR_INTERFACE, "Plug", "ts", FUZZ_MONITOR },
    { ACTUATOR_INTERFACE, "Unplug", "ts", FUZZ_MONITOR },
    { ACTUATOR_INTERFACE, "SetLimits", "ttb", FUZZ_ADMIN },
    { ACTUATOR_INTERFACE, "Reserve", "tss", FUZZ_ADMIN },
    { ACTUATOR_INTERFACE, "ListReservations", "", FUZZ_ANYBODY },
    { ACTUATOR_INTERFACE, "OpenPressureTrigger", "stt", FUZZ_MONITOR },
    { ACTUATOR_INTERFACE, "Reclaim", "t", FUZZ_MONITOR },
    { ACTUATOR_INTERFACE, "Report", "ttus", FUZZ_MONITOR },
    { ACTUATOR_INTERFACE, "DeclineShrink", "ts", FUZZ_MONITOR },
    { ACTUATOR_INTERFACE, "ArmGuard", "t", FUZZ_MONITOR },
    FUZZ_PROPERTIES(FUZZ_ROOT),
    { NULL, NULL, NULL, FUZZ_ANYBODY },
};
static const char *const paths[] = { ACTUATOR_PATH, FUZZ_LOG_PATH, NULL };
static const char *const words[] = { ACTUATOR_INTERFACE, "Size", "MaxSize", "State", "LastError",
    "HostConnected", FUZZ_LOG_WORDS, "some", "full", "normal", "critical", "in-use", "debug", "\001", NULL };

/* Lives as long as the process. */
static void start(void)
{
    static struct actuator_config config;
    static struct actuator *actuator;
    static struct actuator_bus *bus;
    static struct fuzz_target target = { .methods = methods, .paths = paths, .words = words };
    g_autofree char *nothing = fuzz_in_folder("nothing"), *folder = fuzz_in_folder(".");
    g_autofree char *guard = fuzz_in_folder("guard"), *limits = fuzz_in_folder("limits");
    g_autofree char *reservations = fuzz_in_folder("reservations");
    char *error = NULL;
    sd_event *event;

    /* As much of a /sys as the actuator wants to begin with; never the machine's own. */
    fuzz_make_file("devices/system/memory/block_size_bytes", "8000000\n");
    /* Root may have a private connection too, and is not the monitor. */
    target.monitor_uid = getuid() ?: 4711;
    target.socket = fuzz_in_folder("socket");
    log_set_max_level(LOG_EMERG);
    FUZZ_CHECK(actuator_config_load(nothing, true, &config, &error) >= 0);
    FUZZ_CHECK(sd_event_new(&event) >= 0);
    FUZZ_CHECK(actuator_new(event,
                       &(struct actuator_options){ .config = &config,
                               .port = nothing,
                               .sysfs = folder,
                               .procfs = "/proc",
                               .cgroup = folder,
                               .guard_saved = guard,
                               .kernel_saved = nothing,
                               .limits_saved = limits },
                       &actuator) >= 0);
    FUZZ_CHECK(actuator_bus_new(event, actuator,
                       &(struct actuator_bus_options){ .address = fuzz_bus_listen(event),
                               .socket = target.socket,
                               .procfs = folder,
                               .cgroupfs = folder,
                               .reservations_saved = reservations,
                               .monitor_uid = target.monitor_uid,
                               .monitor_gid = getgid() },
                       &bus) >= 0);
    fuzz_bus_meet(&target);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool started;

    if (!started)
        start();
    started = true;
    fuzz_bus_run(data, size);
    return 0;
}
