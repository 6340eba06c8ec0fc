/* SPDX-License-Identifier: MIT */
#include "doctor-probe.h"

#include <fcntl.h>
#include <glib.h>
#include <sys/utsname.h>

#include "names.h"
#include "pressure.h"
#include "procfile.h"
#include "saved-limits.h"
#include "vsock.h"

#define PORT "dev/virtio-ports/org.vmtide.0"
#define ANSWER_USEC (3 * USEC_PER_SEC)
/* virtio's number of the memory device (Virtio 1.2, 5.15). */
#define VIRTIO_MEM 24u

static char *path_in(const char *root, const char *path)
{
    return g_build_filename(root ?: "/", path, NULL);
}

static bool exists(const char *root, const char *path)
{
    g_autofree char *full = path_in(root, path);

    return g_file_test(full, G_FILE_TEST_EXISTS);
}

static bool has_vsock(const char *root)
{
    g_autofree char *sysfs = path_in(root, "sys");

    return vsock_has_device(sysfs);
}

/* The first word of a file; empty when it cannot be read. */
static void read_word(const char *root, const char *path, char *ret, size_t size)
{
    g_autofree char *full = path_in(root, path);
    char text[256];
    size_t len;

    *ret = '\0';
    if (procfile_read(full, text, sizeof(text), &len) < 0)
        return;
    text[strcspn(text, " \n")] = '\0';
    g_strlcpy(ret, text, size);
}

static bool has_word(const char *root, const char *path, const char *word)
{
    g_autofree char *full = path_in(root, path);
    g_auto(GStrv) words = NULL;
    char text[1024];
    size_t len;

    if (procfile_read(full, text, sizeof(text), &len) < 0)
        return false;
    words = g_strsplit_set(text, " \n", -1);
    return g_strv_contains((const char *const *)words, word);
}

static void probe_pressure(const char *root, struct doctor_facts *f)
{
    g_autofree char *full = path_in(root, "proc/pressure/memory");
    struct pressure pressure;

    f->psi = pressure_read(full, &pressure);
}

/* The trigger goes when the file is closed. */
static int try_trigger(uint64_t window)
{
    _cleanup_close_ int fd = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    char line[64];
    size_t len;
    int r;

    if (fd < 0)
        return -errno;
    r = pressure_trigger_format("some", window / 10, window, line, sizeof(line), &len);
    if (r < 0)
        return r;
    return write(fd, line, len) < 0 ? -errno : 0;
}

static void probe_trigger(const char *root, struct doctor_facts *f)
{
    static const uint64_t windows[] = { 50 * USEC_PER_MSEC, 500 * USEC_PER_MSEC };

    f->trigger = -EPERM;
    if (root || geteuid() != 0)
        return;
    for (size_t i = 0; i < ELEMENTSOF(windows); i++) {
        f->trigger = try_trigger(windows[i]);
        f->trigger_window = windows[i];
        if (f->trigger != -EINVAL)
            return;
    }
}

static void probe_devices(const char *root, struct doctor_facts *f)
{
    g_autofree char *drivers = path_in(root, "sys/bus/virtio/drivers/virtio_mem");
    g_autoptr(GDir) dir = g_dir_open(drivers, 0, NULL);
    const char *name;

    f->driver = dir != NULL;
    while (dir && (name = g_dir_read_name(dir)))
        f->devices += g_str_has_prefix(name, "virtio") ? 1 : 0;
}

/* A device that no driver has taken is there nevertheless. */
static void probe_undriven(const char *root, struct doctor_facts *f)
{
    g_autofree char *devices = path_in(root, "sys/bus/virtio/devices");
    g_autoptr(GDir) dir = g_dir_open(devices, 0, NULL);
    const char *name;

    if (f->devices > 0)
        return;
    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(devices, name, "device", NULL);
        g_autofree char *text = NULL;

        if (g_file_get_contents(file, &text, NULL, NULL) && g_ascii_strtoull(text, NULL, 16) == VIRTIO_MEM)
            f->devices++;
    }
}

static void probe_limits(const char *root, struct doctor_facts *f)
{
    g_autofree char *full = path_in(root, SAVED_LIMITS_PATH);

    f->saved_limits = saved_limits_read(full, &f->saved_min, &f->saved_max);
}

static int call(sd_bus *bus, const char *name, const char *path, const char *interface, const char *member,
        sd_bus_message **ret, const char *types, ...)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    va_list args;
    int r = sd_bus_message_new_method_call(bus, &m, name, path, interface, member);

    va_start(args, types);
    if (r >= 0)
        r = sd_bus_message_appendv(m, types, args);
    va_end(args);
    return r < 0 ? r : sd_bus_call(bus, m, ANSWER_USEC, NULL, ret);
}

static bool has_owner(sd_bus *bus, const char *name)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    int owned = 0;
    int r = call(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner",
            &reply, "s", name);

    return r >= 0 && sd_bus_message_read(reply, "b", &owned) >= 0 && owned;
}

static bool can_start(sd_bus *bus, const char *name)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const char *one;
    int r = call(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
            "ListActivatableNames", &reply, "");

    if (r >= 0)
        r = sd_bus_message_enter_container(reply, 'a', "s");
    while (r >= 0 && sd_bus_message_read(reply, "s", &one) > 0)
        if (streq(one, name))
            return true;
    return false;
}

static void unit_text(sd_bus *bus, const char *path, const char *property, char *ret, size_t size)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const char *text;
    int r = call(bus, "org.freedesktop.systemd1", path, "org.freedesktop.DBus.Properties", "Get", &reply,
            "ss", "org.freedesktop.systemd1.Unit", property);

    *ret = '\0';
    if (r >= 0 && sd_bus_message_read(reply, "v", "s", &text) >= 0)
        g_strlcpy(ret, text, size);
}

static void probe_unit(sd_bus *bus, const char *name, struct doctor_unit *ret)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const char *path;
    char load[24];
    int r = call(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager", "LoadUnit", &reply, "s", name);

    ret->known = r >= 0 && sd_bus_message_read(reply, "o", &path) >= 0;
    if (!ret->known)
        return;
    unit_text(bus, path, "LoadState", load, sizeof(load));
    unit_text(bus, path, "ActiveState", ret->active, sizeof(ret->active));
    unit_text(bus, path, "UnitFileState", ret->enabled, sizeof(ret->enabled));
    ret->loaded = streq(load, "loaded");
}

static void probe_bus(sd_bus *bus, struct doctor_facts *f)
{
    int connected = 0;

    f->bus = true;
    f->actuator = has_owner(bus, ACTUATOR_NAME);
    f->monitor = has_owner(bus, MONITOR_NAME);
    f->landlord = has_owner(bus, HOST_NAME);
    f->polkit = has_owner(bus, "org.freedesktop.PolicyKit1") || can_start(bus, "org.freedesktop.PolicyKit1");
    if (f->actuator && sd_bus_get_property_trivial(bus, ACTUATOR_NAME, ACTUATOR_PATH, ACTUATOR_INTERFACE,
                               "HostConnected", NULL, 'b', &connected) >= 0)
        f->host_connected = connected;
    probe_unit(bus, "vmtide-actuator.service", &f->actuator_unit);
    probe_unit(bus, "vmtide-monitor.service", &f->monitor_unit);
    probe_unit(bus, "vmtide-host.service", &f->host_unit);
}

void doctor_probe(const char *root, sd_bus *bus, struct doctor_facts *ret)
{
    struct doctor_facts f = { 0 };
    struct utsname name;

    if (uname(&name) == 0)
        g_strlcpy(f.kernel, name.release, sizeof(f.kernel));
    probe_pressure(root, &f);
    probe_trigger(root, &f);
    probe_devices(root, &f);
    probe_undriven(root, &f);
    probe_limits(root, &f);
    read_word(root, "sys/devices/system/memory/auto_online_blocks", f.online_blocks, sizeof(f.online_blocks));
    f.port = exists(root, PORT);
    f.vsock = has_vsock(root);
    f.cgroup2 = has_word(root, "sys/fs/cgroup/cgroup.controllers", "memory");
    f.polkit_actions = exists(root, "usr/share/polkit-1/actions/org.vmtide.policy");
    f.host_actions = exists(root, "usr/share/polkit-1/actions/org.vmtide.host.policy");
    f.host_conf = exists(root, "etc/vmtide/host.conf");
    if (bus)
        probe_bus(bus, &f);
    doctor_probe_memory(root, f.actuator ? bus : NULL, &f.memory);
    /* What serves VMs is no guest of ours, unless the guest's daemons are installed too. */
    f.host = f.host_unit.loaded && !f.actuator_unit.loaded;
    *ret = f;
}
