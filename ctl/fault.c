/* SPDX-License-Identifier: MIT */
#include "fault.h"

#include "names.h"

#define DBUS_ERROR(name) "org.freedesktop.DBus.Error." name

struct fault fault_of(const char *error_name)
{
    static const char not_running[] = "the daemon does not run here: systemctl start vmtide-actuator "
                                      "vmtide-monitor; vmtidectl doctor says more";
    static const char not_allowed[] =
            "run it as root, or let an administrator allow it to you by a polkit rule (vmtide-dbus(5))";
    static const char again[] = "try again in a moment";
    static const struct {
        const char *name;
        struct fault fault;
    } faults[] = {
        { ERROR_LIMIT_EXCEEDED,
                { FAULT_REFUSED,
                        "vmtidectl status shows the limits; set-limits changes the guest's, host.conf the "
                        "host's" } },
        { ERROR_BELOW_MINIMUM,
                { FAULT_REFUSED,
                        "vmtidectl status shows the limits, vmtidectl reservations who keeps memory" } },
        { ERROR_BUSY, { FAULT_TRY_AGAIN, again } },
        { ERROR_RATE_LIMITED, { FAULT_TRY_AGAIN, again } },
        { ERROR_HOST_UNAVAILABLE,
                { FAULT_UNAVAILABLE,
                        "vmtidectl doctor looks at the channel; vmtide-host must run on the host" } },
        { ERROR_HOST_REFUSED,
                { FAULT_REFUSED, "the host decides: its log says why, its host.conf has the limits" } },
        { ERROR_NO_DEVICE, { FAULT_UNAVAILABLE,
                                   "the VM needs a virtio-mem device (vmtide(7)); vmtidectl doctor looks" } },
        { ERROR_NO_HOST_DAEMON, { FAULT_UNAVAILABLE, "start it on this machine: systemctl start vmtide-host; "
                                                     "vmtidectl host doctor says more" } },
        { ERROR_NO_SUCH_VM, { FAULT_REFUSED, "vmtidectl host list tells the names" } },
        { DBUS_ERROR("UnknownObject"), { FAULT_REFUSED, "vmtidectl host list tells the names" } },
        { ERROR_INVALID_SIZE, { FAULT_REFUSED, NULL } },
        { DBUS_ERROR("InvalidArgs"), { FAULT_REFUSED, NULL } },
        { DBUS_ERROR("ServiceUnknown"), { FAULT_UNAVAILABLE, not_running } },
        { DBUS_ERROR("NameHasNoOwner"), { FAULT_UNAVAILABLE, not_running } },
        { DBUS_ERROR("AccessDenied"), { FAULT_NOT_ALLOWED, not_allowed } },
        { DBUS_ERROR("InteractiveAuthorizationRequired"), { FAULT_NOT_ALLOWED, not_allowed } },
        { DBUS_ERROR("NoReply"), { FAULT_TRY_AGAIN, again } },
        { DBUS_ERROR("Timeout"), { FAULT_TRY_AGAIN, again } },
        { DBUS_ERROR("TimedOut"), { FAULT_TRY_AGAIN, again } },
        { DBUS_ERROR("Disconnected"), { FAULT_UNAVAILABLE, NULL } },
        { DBUS_ERROR("UnknownMethod"),
                { FAULT_UNAVAILABLE, "the daemon is older than this vmtidectl: update and restart it" } },
        { DBUS_ERROR("NoMemory"), { FAULT_INTERNAL, NULL } },
    };

    for (size_t i = 0; i < ELEMENTSOF(faults); i++)
        if (streq(error_name, faults[i].name))
            return faults[i].fault;
    return (struct fault){ FAULT_REFUSED, NULL };
}

struct fault fault_of_host(const char *error_name)
{
    static const char not_running[] =
            "start it on this machine: systemctl start vmtide-host; vmtidectl host doctor says more";
    static const struct {
        const char *name;
        const char *advice;
    } other[] = {
        { ERROR_LIMIT_EXCEEDED, "vmtidectl host show tells the VM's limits" },
        { ERROR_BUSY, "vmtidectl host show tells its state" },
        { ERROR_HOST_UNAVAILABLE, "vmtidectl host doctor tells what it waits for" },
        { DBUS_ERROR("ServiceUnknown"), not_running },
        { DBUS_ERROR("NameHasNoOwner"), not_running },
    };
    struct fault f = fault_of(error_name);

    for (size_t i = 0; i < ELEMENTSOF(other); i++)
        if (streq(error_name, other[i].name))
            f.advice = other[i].advice;
    return f;
}
