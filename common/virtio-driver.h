/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* Number of devices that a virtio driver of this kernel holds ("virtio_mem"), by sysfs ("/sys"); 0 when the
 * driver is not loaded. Negative errno. */
int virtio_driver_count(const char *sysfs, const char *driver);
