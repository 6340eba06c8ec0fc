/* SPDX-License-Identifier: MIT */
#include "doctor-judge.h"

#include <inttypes.h>
#include <stdarg.h>

#include "bytes.h"

/* The oldest kernel that the guest part is tested with. */
#define KERNEL_MAJOR 6u
#define KERNEL_MINOR 1u

const char *doctor_verdict_to_string(enum doctor_verdict v)
{
    static const char *const names[_DOCTOR_VERDICT_MAX] = {
        [DOCTOR_OK] = "ok",
        [DOCTOR_UNKNOWN] = "unknown",
        [DOCTOR_WARNING] = "warning",
        [DOCTOR_FAULT] = "fault",
    };

    return v >= 0 && v < _DOCTOR_VERDICT_MAX ? names[v] : NULL;
}

void doctor_add(struct doctor_report *r, const char *name, enum doctor_verdict verdict, const char *remedy,
        const char *format, ...)
{
    struct doctor_check *c = &r->checks[r->n++];
    va_list args;

    c->name = name;
    c->verdict = verdict;
    c->remedy = verdict == DOCTOR_OK ? NULL : remedy;
    va_start(args, format);
    (void)vsnprintf(c->text, sizeof(c->text), format, args);
    va_end(args);
}

static void judge_kernel(const struct doctor_facts *f, struct doctor_report *r)
{
    unsigned major, minor;

    if (sscanf(f->kernel, "%u.%u", &major, &minor) != 2)
        doctor_add(r, "kernel", DOCTOR_UNKNOWN, NULL, "version %s is not understood", f->kernel);
    else if (major < KERNEL_MAJOR || (major == KERNEL_MAJOR && minor < KERNEL_MINOR))
        doctor_add(
                r, "kernel", DOCTOR_FAULT, "install Linux 6.1 or later", "%s is older than 6.1", f->kernel);
    else
        doctor_add(r, "kernel", DOCTOR_OK, NULL, "%s", f->kernel);
}

static void judge_pressure(const struct doctor_facts *f, struct doctor_report *r)
{
    if (f->psi == -EOPNOTSUPP || f->psi == -ENOENT)
        doctor_add(r, "pressure", DOCTOR_FAULT, "boot with psi=1 on the kernel's command line",
                "this kernel tells no memory pressure");
    else if (f->psi < 0)
        doctor_add(r, "pressure", DOCTOR_FAULT, "look at /proc/pressure/memory", "it cannot be read: %s",
                strerror(-f->psi));
    else
        doctor_add(r, "pressure", DOCTOR_OK, NULL, "/proc/pressure/memory is readable");
}

static void judge_trigger(const struct doctor_facts *f, struct doctor_report *r)
{
    if (f->psi < 0 || f->trigger == -EPERM)
        doctor_add(r, "triggers", DOCTOR_UNKNOWN, f->psi < 0 ? NULL : "run doctor as root",
                f->psi < 0 ? "there is no pressure to set one on" : "only root may set one");
    else if (f->trigger == -EINVAL)
        doctor_add(r, "triggers", DOCTOR_FAULT,
                "give vmtide-actuator.service CAP_SYS_RESOURCE (a container often takes it away)",
                "the kernel refuses a window of 500 ms");
    else if (f->trigger < 0)
        doctor_add(r, "triggers", DOCTOR_FAULT, "look at /proc/pressure/memory", "none can be set: %s",
                strerror(-f->trigger));
    else
        doctor_add(r, "triggers", DOCTOR_OK, NULL, "windows from %" PRIu64 " ms on",
                f->trigger_window / USEC_PER_MSEC);
}

static void judge_device(const struct doctor_facts *f, struct doctor_report *r)
{
    if (!f->driver)
        doctor_add(r, "driver", DOCTOR_FAULT,
                "modprobe virtio_mem; a VM without the device does not load it by itself",
                "virtio_mem is not there");
    else
        doctor_add(r, "driver", DOCTOR_OK, NULL, "virtio_mem is there");
    if (f->devices == 0)
        doctor_add(r, "device", DOCTOR_FAULT, "give the VM a virtio-mem device on the host (vmtide(7))",
                "this VM has no virtio-mem device");
    else
        doctor_add(r, "device", DOCTOR_OK, NULL, "%u virtio-mem", f->devices);
}

static void judge_onlining(const struct doctor_facts *f, struct doctor_report *r)
{
    if (*f->online_blocks == '\0')
        doctor_add(r, "onlining", DOCTOR_FAULT, "this kernel needs CONFIG_MEMORY_HOTPLUG",
                "auto_online_blocks cannot be read");
    else if (streq(f->online_blocks, "offline"))
        doctor_add(r, "onlining", DOCTOR_FAULT,
                "start vmtide-actuator, which sets it, or boot with memhp_default_state=online_movable",
                "memory that is plugged stays offline, and plugging ends after 1 GiB");
    else
        doctor_add(r, "onlining", DOCTOR_OK, NULL, "auto_online_blocks is %s", f->online_blocks);
}

static void judge_cgroup(const struct doctor_facts *f, struct doctor_report *r)
{
    if (f->cgroup2)
        doctor_add(r, "cgroup", DOCTOR_OK, NULL, "version 2 with the memory controller");
    else
        doctor_add(r, "cgroup", DOCTOR_WARNING, "boot with systemd.unified_cgroup_hierarchy=1",
                "no cgroup v2 with the memory controller: no guard and no reclaim");
}

static void judge_port(const struct doctor_facts *f, struct doctor_report *r)
{
    static const char start[] = "start vmtide-host on the host, with this VM in its host.conf";

    if (f->port)
        doctor_add(r, "port", DOCTOR_OK, NULL, "org.vmtide.0 is there");
    else if (f->vsock)
        doctor_add(r, "port", DOCTOR_OK, NULL, "no org.vmtide.0, but vsock");
    else
        doctor_add(r, "port", DOCTOR_FAULT, "give the VM a virtserialport with name=org.vmtide.0 (vmtide(7))",
                "/dev/virtio-ports/org.vmtide.0 is not there");
    if (!f->actuator)
        doctor_add(r, "host", DOCTOR_UNKNOWN, NULL, "the actuator would know");
    else if (!f->host_connected)
        doctor_add(r, "host", DOCTOR_FAULT, start, "no host answers on the channel");
    else
        doctor_add(r, "host", DOCTOR_OK, NULL, "it answers");
}

static void judge_unit(
        const struct doctor_unit *u, const char *name, const char *enable, struct doctor_report *r)
{
    if (!u->known)
        doctor_add(r, name, DOCTOR_UNKNOWN, NULL, "systemd does not answer on this bus");
    else if (!u->loaded)
        doctor_add(r, name, DOCTOR_FAULT, "install the package that has it", "there is no such unit");
    else if (!streq(u->active, "active"))
        doctor_add(r, name, DOCTOR_FAULT, enable, "it is %s", u->active);
    else if (!streq(u->enabled, "enabled"))
        doctor_add(r, name, DOCTOR_WARNING, enable, "active, but %s: not there after a reboot",
                *u->enabled ? u->enabled : "not enabled");
    else
        doctor_add(r, name, DOCTOR_OK, NULL, "active and enabled");
}

static void judge_bus(const struct doctor_facts *f, struct doctor_report *r)
{
    static const char start[] = "systemctl start vmtide-actuator vmtide-monitor; journalctl -u tells why not";

    if (!f->bus)
        doctor_add(r, "bus", DOCTOR_FAULT,
                "install and start dbus; the daemons work on without it, nobody else sees them",
                "the system bus cannot be reached");
    else if (!f->actuator || !f->monitor)
        doctor_add(r, "bus", DOCTOR_FAULT, start, "%s not on it",
                f->actuator  ? "the monitor is"
                : f->monitor ? "the actuator is"
                             : "monitor and actuator are");
    else
        doctor_add(r, "bus", DOCTOR_OK, NULL, "actuator and monitor are on it");
}

static void judge_polkit(const struct doctor_facts *f, struct doctor_report *r)
{
    bool actions = f->host ? f->host_actions : f->polkit_actions;

    if (!f->bus)
        doctor_add(r, "polkit", DOCTOR_UNKNOWN, NULL, "there is no bus to look on");
    else if (!f->polkit)
        doctor_add(r, "polkit", DOCTOR_WARNING, "install polkitd",
                "not on the bus: nobody but root may change anything");
    else if (!actions)
        doctor_add(r, "polkit", DOCTOR_FAULT,
                f->host ? "install /usr/share/polkit-1/actions/org.vmtide.host.policy"
                        : "install /usr/share/polkit-1/actions/org.vmtide.policy",
                "it does not know vmtide's actions");
    else
        doctor_add(r, "polkit", DOCTOR_OK, NULL, "there, and knows vmtide's actions");
}

static void judge_limits(const struct doctor_facts *f, struct doctor_report *r)
{
    if (f->saved_limits == -ENOENT)
        doctor_add(r, "limits", DOCTOR_OK, NULL, "those of actuator.conf, none were set to stay");
    else if (f->saved_limits < 0)
        doctor_add(r, "limits", DOCTOR_WARNING, "vmtidectl set-limits --reset",
                "those that were set to stay cannot be read, actuator.conf's are in force");
    else
        doctor_add(r, "limits", DOCTOR_OK, NULL,
                "min size %s, max size %s were set to stay and win over actuator.conf; set-limits --reset "
                "ends that",
                FORMAT_BYTES(f->saved_min),
                f->saved_max < UINT64_MAX ? FORMAT_BYTES(f->saved_max) : "the host's");
}

static void judge_host(const struct doctor_facts *f, struct doctor_report *r)
{
    if (f->host_conf)
        doctor_add(r, "host.conf", DOCTOR_OK, NULL, "there");
    else
        doctor_add(r, "host.conf", DOCTOR_FAULT, "write /etc/vmtide/host.conf (vmtide.conf(5))",
                "there is none");
    judge_unit(&f->host_unit, "vmtide-host", "systemctl enable --now vmtide-host", r);
    judge_pressure(f, r);
    if (!f->bus)
        judge_bus(f, r);
    else if (!f->landlord)
        doctor_add(r, "bus", DOCTOR_FAULT,
                "systemctl start vmtide-host; journalctl -u vmtide-host tells why not",
                "the host's daemon is not on it");
    else
        doctor_add(r, "bus", DOCTOR_OK, NULL, "the host's daemon is on it");
    judge_polkit(f, r);
}

void doctor_judge(const struct doctor_facts *f, struct doctor_report *ret)
{
    struct doctor_report r = { .n = 0 };

    if (f->host)
        judge_host(f, &r);
    else {
        judge_kernel(f, &r);
        judge_pressure(f, &r);
        judge_trigger(f, &r);
        judge_device(f, &r);
        judge_onlining(f, &r);
        judge_cgroup(f, &r);
        doctor_judge_memory(f, &r);
        judge_port(f, &r);
        judge_limits(f, &r);
        judge_bus(f, &r);
        judge_polkit(f, &r);
        judge_unit(&f->actuator_unit, "vmtide-actuator", "systemctl enable --now vmtide-actuator", &r);
        judge_unit(&f->monitor_unit, "vmtide-monitor", "systemctl enable --now vmtide-monitor", &r);
    }
    *ret = r;
}

unsigned doctor_count(const struct doctor_report *r, enum doctor_verdict v)
{
    unsigned n = 0;

    for (size_t i = 0; i < r->n; i++)
        n += r->checks[i].verdict == v;
    return n;
}
