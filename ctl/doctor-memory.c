/* SPDX-License-Identifier: MIT */
/* The rows of doctor that are about memory settings: what was sized for boot memory and stays so. */
#include "bytes.h"
#include "doctor-judge.h"
#include "room.h"

static uint64_t may_have(const struct doctor_memory *m)
{
    return m->boot_size + m->max_size;
}

static void judge_overcommit(const struct doctor_facts *f, struct doctor_report *r)
{
    const struct doctor_memory *m = &f->memory;
    static const char name[] = "overcommit";

    if (m->overcommit < 0)
        doctor_add(r, name, DOCTOR_UNKNOWN, NULL, "vm.overcommit_memory cannot be read: %s",
                strerror(-m->overcommit));
    else if (m->overcommit == 2)
        doctor_add(r, name, DOCTOR_WARNING,
                "sysctl vm.overcommit_memory=0, or a vm.overcommit_kbytes for boot memory and max size",
                "vm.overcommit_memory is 2: allocations above CommitLimit (%s now) fail with ENOMEM, and it "
                "grows only after the memory",
                FORMAT_BYTES(m->limit));
    else if (m->overcommit == 1)
        doctor_add(r, name, DOCTOR_OK, NULL,
                "vm.overcommit_memory is 1: an allocation above MemTotal succeeds, and the VM grows when it "
                "is used");
    else if (f->host_connected && m->sizes && m->size < m->max_size)
        doctor_add(r, name, DOCTOR_WARNING,
                "set Overcommit=follow in actuator.conf, and restart vmtide-actuator if the value was "
                "changed by hand",
                "vm.overcommit_memory is 0: one allocation above MemTotal and swap fails with ENOMEM, "
                "although the "
                "VM may grow to %s",
                FORMAT_BYTES(may_have(m)));
    else
        doctor_add(r, name, DOCTOR_OK, NULL,
                "vm.overcommit_memory is 0; vmtide-actuator sets 1 while the VM may grow, and restores it");
}

static void judge_reserve(const struct doctor_memory *m, struct doctor_report *r)
{
    static const char name[] = "kernel-reserve";
    uint64_t wanted = m->sizes ? room_kernel_reserve(m->boot_size, m->size, m->max_size) : 0;

    if (m->zones < 0)
        doctor_add(r, name, DOCTOR_UNKNOWN, NULL, "/proc/zoneinfo cannot be read: %s", strerror(-m->zones));
    else if (m->movable == 0)
        doctor_add(r, name, DOCTOR_OK, NULL,
                "no memory is in ZONE_MOVABLE, so vm.lowmem_reserve_ratio is the administrator's");
    /* Less than ZONE_MOVABLE has cannot be reserved. */
    else if (m->reserve < MIN_OF(wanted, m->movable) / 2)
        doctor_add(r, name, DOCTOR_WARNING,
                "set KernelReserve=yes in actuator.conf, and restart vmtide-actuator if the ratio was "
                "changed "
                "by hand",
                "%s of the kernel zones are kept from user pages, and %s should be: page tables and forks "
                "may find no memory",
                FORMAT_BYTES(m->reserve), FORMAT_BYTES(wanted));
    else if (!m->sizes)
        doctor_add(r, name, DOCTOR_OK, NULL, "%s of the kernel zones are kept from user pages",
                FORMAT_BYTES(m->reserve));
    else
        doctor_add(r, name, DOCTOR_OK, NULL,
                "%s of the kernel zones are kept from user pages, %s are wanted; vmtide-actuator restores "
                "vm.lowmem_reserve_ratio at its end",
                FORMAT_BYTES(m->reserve), FORMAT_BYTES(wanted));
}

static void judge_tmpfs(const struct doctor_memory *m, struct doctor_report *r)
{
    static const char name[] = "tmpfs";

    if (*m->full)
        doctor_add(r, name, DOCTOR_WARNING, "mount -o remount,size=SIZE DIRECTORY",
                "nearly full: %s; a tmpfs keeps the size that it got by the memory at its mount", m->full);
    else if (*m->tmpfs)
        doctor_add(r, name, DOCTOR_OK, NULL,
                "%s: sized by the memory at the mount; where a program needs more, mount -o "
                "remount,size=SIZE DIRECTORY",
                m->tmpfs);
    else
        doctor_add(r, name, DOCTOR_OK, NULL, "none at /dev/shm, /tmp and /run");
}

static void judge_limited(const struct doctor_memory *m, struct doctor_report *r)
{
    static const char name[] = "cgroup-limits";

    if (!m->sizes)
        doctor_add(r, name, DOCTOR_UNKNOWN, NULL, "the actuator would know what the VM may have");
    else if (*m->limited)
        doctor_add(r, name, DOCTOR_WARNING,
                "raise it to boot memory and max size (systemd: MemoryMax=); kubelet computes it at its "
                "start",
                "%s: its processes are killed at memory.max, however much the VM may grow", m->limited);
    else
        doctor_add(
                r, name, DOCTOR_OK, NULL, "no cgroup at the top has a memory.max below what the VM may have");
}

static void judge_root(const struct doctor_memory *m, struct doctor_report *r)
{
    static const char name[] = "root-cgroup";

    if (m->root_processes > 0)
        doctor_add(r, name, DOCTOR_WARNING,
                "start them in a cgroup, for instance as a unit or by systemd-run --scope",
                "%u processes in the root cgroup (%s): it has no memory.high, so the guard cannot hold them",
                m->root_processes, m->root_names);
    else
        doctor_add(r, name, DOCTOR_OK, NULL, "no user process is in it, where the guard could not hold it");
}

void doctor_judge_memory(const struct doctor_facts *f, struct doctor_report *r)
{
    judge_overcommit(f, r);
    judge_reserve(&f->memory, r);
    judge_tmpfs(&f->memory, r);
    if (f->cgroup2) {
        judge_limited(&f->memory, r);
        judge_root(&f->memory, r);
    }
}
