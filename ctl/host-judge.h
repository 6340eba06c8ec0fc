/* SPDX-License-Identifier: MIT */
#pragma once

#include "doctor-judge.h"

/* What host doctor makes of one VM: pure, the facts are gathered by host-doctor. */

struct host_vm_facts {
    const char *name;
    const char *state;            /* org.vmtide.Host1.VM's State */
    uint32_t process;             /* 0: not known */
    uint64_t boot_size, max_size; /* bytes; max UINT64_MAX: not known */
    int bound_known;              /* 0: bound was read; else a negative errno */
    uint64_t bound;               /* smallest memory.max above the process; UINT64_MAX: none */
};

void host_judge_vm(const struct host_vm_facts *f, struct doctor_check *ret);
