/* SPDX-License-Identifier: MIT */
#pragma once

#include "bytes.h"

/* Defaults of the memory that a guest keeps available, for the monitor, which keeps it, and for the actuator
 * and the host, which must not plan with it. Bytes. */

/* Automatic headroom of the balanced profile: a part of MemTotal within these limits. 192 MiB survived each
 * measured burst, the minimum has a third more for the kernel zones; what a burst takes in a round trip does
 * not grow with the guest, hence the maximum. */
#define HEADROOM_PART 32u
#define HEADROOM_MIN MIB(256)
#define HEADROOM_MAX MIB(768)

/* A grow and a shrink leave this much above the headroom, so that the next grow is not due at once. */
#define HEADROOM_SLACK MIB(512)
