/* SPDX-License-Identifier: MIT */
#pragma once

#include <sys/types.h>

#include "macro.h"

/* A QEMU's memory, read again and again. The files stay bound to the process: once it has ended its number
 * may belong to another process, and reading returns -ESRCH. */
struct qemu_process;

#define QEMU_CGROUPS "/sys/fs/cgroup"

/* All in bytes. */
struct qemu_memory {
    uint64_t resident; /* RSS. A page that is mapped twice counts twice: no lower bound of what is in use */
    uint64_t touched;  /* what MemAvailable has certainly lost to it */
    uint64_t doubtful; /* shared pages that are left out of touched, as no cgroup vouches for them */
};

/* Opens PROCFS/PID; cgroups is where cgroup v2 is mounted. *ret is for qemu_process_close(). */
int qemu_process_open(const char *procfs, const char *cgroups, pid_t pid, struct qemu_process **ret);
struct qemu_process *qemu_process_close(struct qemu_process *p);
/* 0 for NULL. */
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
