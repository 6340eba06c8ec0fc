/* SPDX-License-Identifier: MIT */
#pragma once

#include "channel.h"

/* What the guest says of itself on the channel: agent, boot id, boot memory, size of a memory block. Logs
 * what is missing. */
int hello_read(const char *sysfs, const char *procfs, struct channel_message *ret);
