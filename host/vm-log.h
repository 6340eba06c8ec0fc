/* SPDX-License-Identifier: MIT */
#pragma once

#include "log.h"
#include "vm-state.h"

/* What one VM said already. */
struct vm_log {
    struct log_repeat repeat[_VM_NOTE_MAX];
    struct log_repeat refused[_CHANNEL_CODE_MAX];
};

/* One line for a note, with the numbers that justified the act; a repeated one is said once and counted. */
void vm_log_note(
        struct vm_log *l, const struct vm_settings *settings, const struct vm_note *note, uint64_t now);
