/* SPDX-License-Identifier: MIT */
#pragma once

/* D-Bus names, paths and errors that more than one process knows. */
#define ACTUATOR_NAME "org.vmtide.Actuator1"
#define ACTUATOR_PATH "/org/vmtide/Actuator1"
#define ACTUATOR_INTERFACE "org.vmtide.Actuator1"
#define ACTUATOR_SOCKET "/run/vmtide/actuator.sock"

#define MONITOR_NAME "org.vmtide.Monitor1"
#define MONITOR_PATH "/org/vmtide/Monitor1"
#define MONITOR_INTERFACE "org.vmtide.Monitor1"
#define MONITOR_USER "vmtide"

#define HOST_NAME "org.vmtide.Host1"
#define HOST_PATH "/org/vmtide/Host1"
#define HOST_INTERFACE "org.vmtide.Host1"
#define HOST_VMS_PATH HOST_PATH "/vm"
#define HOST_VM_INTERFACE "org.vmtide.Host1.VM"

#define ERROR_LIMIT_EXCEEDED "org.vmtide.Error.LimitExceeded"
#define ERROR_BELOW_MINIMUM "org.vmtide.Error.BelowMinimum"
#define ERROR_BUSY "org.vmtide.Error.Busy"
#define ERROR_RATE_LIMITED "org.vmtide.Error.RateLimited"
#define ERROR_HOST_UNAVAILABLE "org.vmtide.Error.HostUnavailable"
#define ERROR_HOST_REFUSED "org.vmtide.Error.HostRefused"
#define ERROR_NO_DEVICE "org.vmtide.Error.NoDevice"
#define ERROR_INVALID_SIZE "org.vmtide.Error.InvalidSize"
#define ERROR_NO_SUCH_VM "org.vmtide.Error.NoSuchVM"
