/* SPDX-License-Identifier: MIT */
#pragma once

#include <systemd/sd-event.h>

#include "vm-view.h"

/* One VM: its two sockets and its timer around the state machine of vm-state.h. */
struct vm;

struct vm_options {
    struct vm_settings settings;
    const char *channel; /* path of the channel's socket, NULL: the guest comes, vm_accept() */
    const char *qmp;     /* path of the QMP socket; not with a domain */
    const char *domain;  /* libvirt's name, NULL: QMP */
    struct libvirt *libvirt;
    const char *procfs;
    uint64_t qmp_timeout; /* µs */
    uint64_t remembered;  /* recorded promise (bytes), which counts until QEMU replies */
};

struct vm_ops {
    /* The host's numbers now; fresh: not ones of some time ago. */
    void (*budget)(struct grant_host *ret, bool fresh, void *userdata);
    /* What vm_promised() and vm_claims() say may have changed. */
    void (*changed)(void *userdata);
    /* A request of the guest was granted, usec after it came. */
    void (*granted)(uint64_t usec, void *userdata);
};

int vm_new(sd_event *event, const struct vm_options *options, const struct vm_ops *ops, void *userdata,
        struct vm **ret);
struct vm *vm_free(struct vm *vm);
void vm_configure(struct vm *vm, const struct vm_settings *settings);

const char *vm_name(const struct vm *vm);
/* PID of the process whose memory is read, also while QEMU does not reply; 0: none. */
pid_t vm_process(const struct vm *vm);
/* Reads QEMU's memory for vm_promised(). own: false when another VM has the same process, whose memory then
 * counts for that VM alone. */
void vm_read_memory(struct vm *vm, bool own);
/* Returns the granted bytes that MemAvailable still contains: boot memory and size, less the memory that QEMU
 * had certainly touched at the last read. Until QEMU has replied this is the recorded promise, or 0 when
 * certainly no QEMU is running. */
uint64_t vm_promised(const struct vm *vm);
/* Whether QEMU has reported the VM's sizes since the daemon started. */
bool vm_is_known(const struct vm *vm);
/* Its share has a claim, or had one that has come to its end by itself. */
bool vm_claims(const struct vm *vm);
/* As guest_link_accept(). */
int vm_accept(struct vm *vm, int fd);
/* As vm_state_view(), with the process. */
void vm_view(const struct vm *vm, struct vm_view *ret);
/* As vm_state_ask_shrink(), vm_state_pause() and vm_state_resume(). */
int vm_ask_shrink(struct vm *vm, uint64_t size, const char *reason);
void vm_pause(struct vm *vm, const char *why, uint64_t usec);
void vm_resume(struct vm *vm);
/* As vm_state_ask_spare() and vm_state_share(). */
int vm_ask_spare(struct vm *vm, uint64_t bytes);
void vm_share(const struct vm *vm, struct share_vm *ret);
