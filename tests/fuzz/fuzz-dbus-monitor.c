/* SPDX-License-Identifier: MIT */
/* D-Bus calls with any arguments at the monitor: org.vmtide.Monitor1 and what it shows of its log. It samples
 * this machine's /proc meanwhile and has no actuator. */
#include "bus.h"

#include "log.h"
#include "monitor-bus.h"
#include "names.h"

static const struct fuzz_method methods[] = {
    { MONITOR_INTERFACE, "Pause", "su", FUZZ_ADMIN },
    { MONITOR_INTERFACE, "Resume", "", FUZZ_ADMIN },
    { MONITOR_INTERFACE, "Explain", "u", FUZZ_ANYBODY },
    FUZZ_PROPERTIES(FUZZ_ROOT),
    { NULL, NULL, NULL, FUZZ_ANYBODY },
};
static const char *const paths[] = { MONITOR_PATH, FUZZ_LOG_PATH, NULL };
static const char *const words[] = { MONITOR_INTERFACE, "Mode", "Level", "Available", "Headroom",
    "PressureSome10", "PausedUntil", "PauseReason", FUZZ_LOG_WORDS, "debug", "\001", NULL };

static struct monitor *monitor;

static void start(void)
{
    static struct monitor_config config;
    static struct monitor_bus *bus;
    static const struct fuzz_target target = {
        .methods = methods,
        .paths = paths,
        .words = words,
        .monitor_uid = 4711,
    };
    g_autofree char *nothing = fuzz_in_folder("nothing");
    char *error = NULL;
    sd_event *event;

    log_set_max_level(LOG_EMERG);
    FUZZ_CHECK(monitor_config_load(nothing, true, &config, &error) >= 0);
    FUZZ_CHECK(sd_event_new(&event) >= 0);
    FUZZ_CHECK(monitor_new(event,
                       &(struct monitor_options){
                               .config = &config, .procfs = "/proc", .cgroup = nothing, .socket = nothing },
                       &monitor) >= 0);
    FUZZ_CHECK(monitor_bus_new(event, monitor, fuzz_bus_listen(event), &bus) >= 0);
    fuzz_bus_meet(&target);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct pause *pause;

    if (!monitor)
        start();
    fuzz_bus_run(data, size);
    /* What was taken over can be shown on a terminal, and nothing but a pause stops the monitor. */
    pause = monitor_pause(monitor);
    FUZZ_CHECK(g_utf8_validate(pause->reason, -1, NULL) && strlen(pause->reason) < sizeof(pause->reason));
    FUZZ_CHECK(monitor_mode(monitor) == MONITOR_AUTO || monitor_mode(monitor) == MONITOR_PAUSED);
    return 0;
}
