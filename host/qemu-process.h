/* SPDX-License-Identifier: MIT */
#pragma once

#include <sys/types.h>

#include "macro.h"

/* The memory of a QEMU process. The open files stay bound to the process: after its end the PID may belong to
 * another process, and reading returns -ESRCH. */
struct qemu_process;

#define QEMU_CGROUPS "/sys/fs/cgroup"

/* All in bytes. */
struct qemu_memory {
    uint64_t resident; /* RSS; counts a page once for each mapping, so it may exceed the memory in use */
    uint64_t touched;  /* memory that MemAvailable certainly no longer contains */
    uint64_t doubtful; /* shared memory outside of touched, since the VM's own cgroup is not charged for it */
};

/* Opens PROCFS/PID/statm. cgroups: mount point of cgroup v2. Free *ret with qemu_process_close(). */
int qemu_process_open(const char *procfs, const char *cgroups, pid_t pid, struct qemu_process **ret);
struct qemu_process *qemu_process_close(struct qemu_process *p);
/* Returns 0 for NULL. */
pid_t qemu_process_pid(const struct qemu_process *p);

/* -ESRCH: the process has ended (or is a zombie, which holds no memory); -EBADMSG: not a statm file.
 *
 * Anonymous memory is touched: the kernel counts each such page once for a process. Shared memory (a memfd, a
 * file in /dev/shm) is counted once for each mapping, so that one memfd makes any RSS. It is touched only as
 * far as the VM's own cgroup is charged for shared memory (shmem in memory.stat): there the kernel charges
 * each page once. memory.current is not used since it contains the page cache, which MemAvailable counts as
 * available. A cgroup is the VM's own when it has no other process and no cgroup below it, or when it is the
 * scope that systemd-machined made for a VM of libvirt's, whose other processes are the VM's too. */
int qemu_process_read(struct qemu_process *p, struct qemu_memory *ret);
