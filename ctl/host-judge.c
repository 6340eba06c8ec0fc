/* SPDX-License-Identifier: MIT */
#include "host-judge.h"

#include <stdarg.h>

#include "bytes.h"

/* What QEMU needs besides the guest's memory: HeldSlack='s default. */
#define QEMU_SLACK MIB(512)

static void set(struct doctor_check *c, enum doctor_verdict verdict, const char *remedy, const char *format,
        ...) _printf_(4, 5);
static void set(
        struct doctor_check *c, enum doctor_verdict verdict, const char *remedy, const char *format, ...)
{
    va_list args;

    c->verdict = verdict;
    c->remedy = verdict == DOCTOR_OK ? NULL : remedy;
    va_start(args, format);
    (void)vsnprintf(c->text, sizeof(c->text), format, args);
    va_end(args);
}

/* States that somebody has to look at. */
static const char *remedy_of_state(const char *state)
{
    static const struct {
        const char *state;
        const char *remedy;
    } rows[] = {
        { "no-qemu", "start the VM, or look whether QEMU listens on the socket of QMP= and nobody else uses "
                     "it; with "
                     "Domain=, whether libvirtd answers vmtide-host's user" },
        { "no-numbers", "Device= must name the id of its virtio-mem device; the daemon's log says more" },
        { "over-held",
                "the guest uses memory that it unplugged: bound the VM's cgroup, and look into the guest" },
        { "no-guest",
                "install and start vmtide-actuator in the guest, and give the VM the port org.vmtide.0" },
        { "stuck", "run vmtidectl doctor in the guest; its kernel's log on virtio_mem says more" },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        if (streq(state, rows[i].state))
            return rows[i].remedy;
    return NULL;
}

static void judge_bound(const struct host_vm_facts *f, struct doctor_check *c)
{
    static const char remedy[] =
            "bound it a little above boot memory, max size and QEMU's own: MemoryMax= of its "
            "unit or scope, with libvirt <memtune><hard_limit>";
    uint64_t whole;

    if (f->process == 0)
        set(c, DOCTOR_UNKNOWN, NULL, "%s; its process is not known", f->state);
    else if (f->bound_known < 0)
        set(c, DOCTOR_UNKNOWN, "run it as root, on a host with cgroup v2",
                "the cgroup of process %u cannot be read: %s", f->process, strerror(-f->bound_known));
    else if (f->bound == UINT64_MAX)
        set(c, DOCTOR_WARNING, remedy,
                "no cgroup bounds it: a guest that uses memory it unplugged is flagged, not held");
    else if (f->max_size == UINT64_MAX || bytes_add(f->boot_size, f->max_size, &whole) < 0)
        set(c, DOCTOR_OK, NULL, "%s; bounded by its cgroup at %s", f->state, FORMAT_BYTES(f->bound));
    else if (f->bound < whole)
        set(c, DOCTOR_FAULT, remedy,
                "its cgroup is bounded at %s, boot memory and max size are %s: QEMU would be killed",
                FORMAT_BYTES(f->bound), FORMAT_BYTES(whole));
    else if (f->bound < whole + QEMU_SLACK)
        set(c, DOCTOR_WARNING, remedy, "its cgroup is bounded at %s, with %s for QEMU itself beside %s",
                FORMAT_BYTES(f->bound), FORMAT_BYTES(f->bound - whole), FORMAT_BYTES(whole));
    else
        set(c, DOCTOR_OK, NULL, "%s; bounded by its cgroup at %s", f->state, FORMAT_BYTES(f->bound));
}

void host_judge_vm(const struct host_vm_facts *f, struct doctor_check *ret)
{
    const char *remedy = remedy_of_state(f->state);
    struct doctor_check c = { .name = f->name };

    if (remedy)
        set(&c, streq(f->state, "over-held") ? DOCTOR_FAULT : DOCTOR_WARNING, remedy, "it is %s", f->state);
    else
        judge_bound(f, &c);
    *ret = c;
}
