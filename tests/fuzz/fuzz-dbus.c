/* SPDX-License-Identifier: MIT */
/* D-Bus calls with any arguments, through the actuator's own vtable: a client on its private socket, in the
 * same event loop. There is no host and no device: what gets past the checks ends there. */
#include "fuzz.h"

#include <ftw.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>

#include "actuator-bus.h"
#include "log.h"
#include "names.h"

#define TURNS_MAX 10000u
#define CALLS_MAX 8u

struct calls {
    sd_event *event;
    sd_bus *client;
    unsigned open;
};

static char folder[] = "/tmp/vmtide-fuzz-XXXXXX";

static char *in_folder(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void remove_folder(void)
{
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* As much of a /sys as the actuator wants to begin with; never the machine's own. */
static void make_sysfs(void)
{
    g_autofree char *memory = NULL, *size = NULL;

    FUZZ_CHECK(mkdtemp(folder));
    (void)atexit(remove_folder);
    memory = in_folder("devices/system/memory");
    size = in_folder("devices/system/memory/block_size_bytes");
    FUZZ_CHECK(g_mkdir_with_parents(memory, 0755) == 0);
    FUZZ_CHECK(g_file_set_contents(size, "8000000\n", -1, NULL));
}

/* Lives as long as the process. */
static sd_event *start(char **ret_socket)
{
    static struct actuator_config config;
    static char *guard, *limits, *nothing, *reservations;
    struct actuator_bus *bus;
    struct actuator *actuator;
    sd_event *event;
    char *error = NULL;

    make_sysfs();
    nothing = in_folder("nothing");
    *ret_socket = in_folder("socket");
    guard = in_folder("guard");
    limits = in_folder("limits");
    reservations = in_folder("reservations");
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
                               .limits_saved = limits },
                       &actuator) >= 0);
    FUZZ_CHECK(actuator_bus_new(event, actuator,
                       &(struct actuator_bus_options){ .address = "unix:path=/nonexistent/bus",
                               .socket = *ret_socket,
                               .procfs = folder,
                               .cgroupfs = folder,
                               .reservations_saved = reservations,
                               .monitor_uid = getuid(),
                               .monitor_gid = getgid() },
                       &bus) >= 0);
    return event;
}

static uint64_t take(const uint8_t **data, size_t *size, size_t n)
{
    uint64_t value = 0;

    for (; n > 0 && *size > 0; n--, (*data)++, (*size)--)
        value = value << 8 | **data;
    return value;
}

/* A string as D-Bus has it, of what comes next. */
static char *take_text(const uint8_t **data, size_t *size)
{
    size_t wanted = take(data, size, 1), n = MIN_OF(wanted, *size);
    g_autofree char *raw = g_strndup((const char *)*data, n);

    *data += n;
    *size -= n;
    return g_utf8_make_valid(raw, -1);
}

static int append(sd_bus_message *m, char type, const uint8_t **data, size_t *size)
{
    g_autofree char *text = NULL;

    switch (type) {
    case 't':
        return sd_bus_message_append(m, "t", take(data, size, 8));
    case 'b':
        return sd_bus_message_append(m, "b", (int)(take(data, size, 1) & 1));
    case 'u':
        return sd_bus_message_append(m, "u", (unsigned)take(data, size, 4));
    case 'v':
        return sd_bus_message_append(m, "v", "t", take(data, size, 8));
    case 'h':
        return sd_bus_message_append(m, "h", 0);
    default:
        text = take_text(data, size);
        return sd_bus_message_append(m, "s", text);
    }
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct calls *c = userdata;

    /* An error has a name and words. */
    if (sd_bus_message_is_method_error(m, NULL))
        FUZZ_CHECK(sd_bus_message_get_error(m)->name && sd_bus_message_get_error(m)->message);
    c->open--;
    return 1;
}

/* The right types of a member, or some others. */
static void call(struct calls *c, const uint8_t **data, size_t *size)
{
    static const struct {
        const char *interface, *member, *types;
    } methods[] = {
        { ACTUATOR_INTERFACE, "Plug", "ts" },
        { ACTUATOR_INTERFACE, "Unplug", "ts" },
        { ACTUATOR_INTERFACE, "SetLimits", "ttb" },
        { ACTUATOR_INTERFACE, "Reserve", "tss" },
        { ACTUATOR_INTERFACE, "ListReservations", "" },
        { ACTUATOR_INTERFACE, "OpenPressureTrigger", "stt" },
        { ACTUATOR_INTERFACE, "Reclaim", "t" },
        { ACTUATOR_INTERFACE, "Report", "ttus" },
        { ACTUATOR_INTERFACE, "DeclineShrink", "ts" },
        { ACTUATOR_INTERFACE, "ArmGuard", "t" },
        { "org.freedesktop.DBus.Properties", "Get", "ss" },
        { "org.freedesktop.DBus.Properties", "Set", "ssv" },
        { "org.freedesktop.DBus.Properties", "GetAll", "s" },
    };
    static const char types[] = "stbuvh";
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    uint64_t which = take(data, size, 1);
    const char *wanted = methods[which % ELEMENTSOF(methods)].types;
    bool wrong = which >= 128;

    FUZZ_CHECK(sd_bus_message_new_method_call(c->client, &m, NULL, ACTUATOR_PATH,
                       methods[which % ELEMENTSOF(methods)].interface,
                       methods[which % ELEMENTSOF(methods)].member) >= 0);
    for (size_t i = 0, n = wrong ? take(data, size, 1) % 6 : strlen(wanted); i < n; i++)
        if (append(m, wrong ? types[take(data, size, 1) % 6] : wanted[i], data, size) < 0)
            return;
    if (sd_bus_call_async(c->client, NULL, m, on_reply, c, 0) >= 0)
        c->open++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sd_event *event;
    static char *socket;
    struct calls c = { 0 };
    g_autofree char *address = NULL;

    if (!event)
        event = start(&socket);
    address = g_strdup_printf("unix:path=%s", socket);
    FUZZ_CHECK(sd_bus_new(&c.client) >= 0 && sd_bus_set_address(c.client, address) >= 0);
    FUZZ_CHECK(sd_bus_negotiate_fds(c.client, 1) >= 0 && sd_bus_start(c.client) >= 0);
    FUZZ_CHECK(sd_bus_attach_event(c.client, event, SD_EVENT_PRIORITY_NORMAL) >= 0);
    /* Before that a message with an fd would wait for an answer that only this loop can give. */
    for (unsigned turn = 0; sd_bus_is_ready(c.client) <= 0; turn++) {
        FUZZ_CHECK(turn < TURNS_MAX);
        FUZZ_CHECK(sd_event_run(event, 10 * USEC_PER_SEC) >= 0);
    }
    for (unsigned i = 0; size > 0 && i < CALLS_MAX; i++)
        call(&c, &data, &size);
    /* Each call has an answer. */
    for (unsigned turn = 0; c.open > 0; turn++) {
        FUZZ_CHECK(turn < TURNS_MAX);
        FUZZ_CHECK(sd_event_run(event, 10 * USEC_PER_SEC) >= 0);
    }
    sd_bus_detach_event(c.client);
    c.client = sd_bus_close_unref(c.client);
    /* The server sees it go. */
    while (sd_event_run(event, 0) > 0)
        ;
    return 0;
}
