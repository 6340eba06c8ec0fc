/* SPDX-License-Identifier: MIT */
#include "vm.h"

#include "bytes.h"
#include "guest-link.h"
#include "log.h"
#include "qemu-process.h"
#include "libvirt.h"
#include "qmp.h"
#include "service.h"
#include "vm-log.h"

/* The 20 ms queries want a precise timer, keepalives one that can be served together with others. */
#define ACCURACY_USEC USEC_PER_MSEC
#define ACCURACY_FAR_USEC USEC_PER_SEC
#define FAR_USEC (10 * USEC_PER_SEC)

struct vm {
    struct vm_state state;
    bool draining;
    const struct vm_ops *ops;
    void *userdata;

    struct backend *backend;
    struct guest_link *link;
    sd_event_source *timer;
    char *procfs;
    pid_t process; /* QEMU's, 0: not known */
    struct qemu_process *qemu;
    struct qemu_memory memory; /* of QEMU, when last read */
    uint64_t remembered;
    bool exited; /* QEMU had exited when its memory was last read */
    struct vm_log log;
    struct log_repeat log_rss;
    struct log_repeat log_doubtful;
};

static void act(struct vm *vm, const struct vm_action *a)
{
    struct grant_host host = { 0 };
    struct vm_note note;

    switch (a->type) {
    case VM_ACTION_SEND:
        guest_link_send(vm->link, &a->message);
        return;
    case VM_ACTION_SET:
        (void)backend_send(vm->backend, QMP_SET_REQUESTED, vm->state.settings.device[a->device], a->bytes);
        return;
    case VM_ACTION_QUERY_DEVICES:
        (void)backend_send(vm->backend, QMP_QUERY_DEVICES, NULL, 0);
        return;
    case VM_ACTION_QUERY_SUMMARY:
        (void)backend_send(vm->backend, QMP_QUERY_SUMMARY, NULL, 0);
        return;
    case VM_ACTION_BUDGET:
        vm->ops->budget(&host, vm->state.queue_len > 0, vm->userdata);
        vm_state_budget(&vm->state, &host, now_usec());
        return;
    case VM_ACTION_RECONNECT:
        guest_link_reconnect(vm->link);
        return;
    case VM_ACTION_NOTE:
        note = a->note;
        vm_state_noted(&vm->state, &note, now_usec());
        if (note.type == VM_NOTE_GRANTED && note.origin == VM_ORIGIN_GUEST)
            vm->ops->granted(note.usec, vm->userdata);
        vm_log_note(&vm->log, &vm->state.settings, &note, now_usec());
        return;
    case _VM_ACTION_MAX:
    case _VM_ACTION_INVALID:
        return;
    }
}

static void arm_timer(struct vm *vm)
{
    uint64_t deadline = vm_state_deadline(&vm->state);

    if (deadline == USEC_FOREVER) {
        (void)sd_event_source_set_enabled(vm->timer, SD_EVENT_OFF);
        return;
    }
    (void)sd_event_source_set_time_accuracy(
            vm->timer, deadline > now_usec() + FAR_USEC ? ACCURACY_FAR_USEC : ACCURACY_USEC);
    (void)sd_event_source_set_time(vm->timer, deadline);
    (void)sd_event_source_set_enabled(vm->timer, SD_EVENT_ONESHOT);
}

/* Carries out what the state machine wants. An act that has an input as its consequence (a connection ends)
 * only adds to the end of the list. */
static void drain(struct vm *vm)
{
    if (vm->draining)
        return;
    vm->draining = true;
    for (unsigned i = 0; i < vm->state.actions->len; i++) {
        struct vm_action a = g_array_index(vm->state.actions, struct vm_action, i);

        act(vm, &a);
    }
    g_array_set_size(vm->state.actions, 0);
    vm->draining = false;
    arm_timer(vm);
    vm->ops->changed(vm->userdata);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct vm *vm = userdata;

    vm_state_timer(&vm->state, now_usec());
    drain(vm);
    return 0;
}

static void on_guest_up(struct guest_link *l, void *userdata)
{
    struct vm *vm = userdata;

    vm_state_guest_up(&vm->state, now_usec());
    drain(vm);
}

static void on_guest_down(struct guest_link *l, void *userdata)
{
    struct vm *vm = userdata;

    vm_state_guest_down(&vm->state);
    drain(vm);
}

static void on_guest_message(struct guest_link *l, const struct channel_message *m, void *userdata)
{
    struct vm *vm = userdata;

    if (m->op == CHANNEL_STATS)
        log_debug("%s: guest: available %s of %s, some10 %llu, level %s", vm_name(vm),
                FORMAT_BYTES(m->available), FORMAT_BYTES(m->total), (unsigned long long)m->some10,
                channel_level_to_string(m->level));
    else if (m->op == CHANNEL_ERROR)
        log_debug("%s: guest says error: %s", vm_name(vm), m->text);
    vm_state_guest_message(&vm->state, m, now_usec());
    drain(vm);
}

static void on_guest_noise(struct guest_link *l, void *userdata)
{
    struct vm *vm = userdata;

    vm_state_guest_noise(&vm->state, now_usec());
    drain(vm);
}

static const struct guest_link_ops guest_callbacks = {
    .up = on_guest_up,
    .down = on_guest_down,
    .message = on_guest_message,
    .noise = on_guest_noise,
};

static void on_backend_up(struct backend *b, pid_t peer, void *userdata)
{
    struct vm *vm = userdata;
    int r;

    vm->qemu = qemu_process_close(vm->qemu);
    vm->process = peer;
    r = qemu_process_open(vm->procfs, QEMU_CGROUPS, peer, &vm->qemu);
    if (r < 0)
        log_warning(
                "%s: cannot read the memory of process %ld: %s; all of the VM's memory counts as promised",
                vm_name(vm), (long)peer, strerror(-r));
    vm_read_memory(vm, false);
    vm_state_qmp_up(&vm->state, now_usec());
    (void)backend_send(b, QMP_TELL_MIGRATION, NULL, 0);
    (void)backend_send(b, QMP_QUERY_MIGRATE, NULL, 0);
    (void)backend_send(b, QMP_QUERY_STATUS, NULL, 0);
    drain(vm);
}

static void on_backend_down(struct backend *b, void *userdata)
{
    struct vm *vm = userdata;

    vm->process = 0;
    vm_state_qmp_down(&vm->state, now_usec());
    drain(vm);
}

static void on_devices(struct vm *vm, const json_t *value)
{
    struct device_numbers devices[DEVICES_MAX];
    const struct vm_settings *settings = &vm->state.settings;
    uint64_t other;
    unsigned bad = 0;
    char what[128];
    int r = value ? qmp_decode_devices(value, settings->device, settings->n_devices, devices, &other, &bad)
                  : -EIO;

    if (r == -ENODEV) {
        (void)snprintf(what, sizeof(what), "it has no virtio-mem device %s", settings->device[bad]);
        backend_complain(vm->backend, what);
    } else if (r == -EBADMSG)
        backend_complain(vm->backend, "numbers that no virtio-mem device can have");
    if (r < 0)
        vm_state_query_failed(&vm->state, now_usec());
    else
        vm_state_devices(&vm->state, devices, other, now_usec());
}

static void on_summary(struct vm *vm, const json_t *value)
{
    uint64_t base;
    int r = value ? qmp_decode_summary(value, &base) : -EIO;

    if (r == -EBADMSG)
        backend_complain(vm->backend, "a memory summary without base-memory");
    if (r < 0)
        vm_state_query_failed(&vm->state, now_usec());
    else
        vm_state_summary(&vm->state, base, now_usec());
}

static void on_status(struct vm *vm, const json_t *value)
{
    bool running;

    if (value && qmp_decode_status(value, &running) >= 0)
        vm_state_stopped(&vm->state, !running, now_usec());
}

static void on_backend_reply(struct backend *b, enum qmp_command command, const json_t *value, void *userdata)
{
    struct vm *vm = userdata;

    if (command == QMP_QUERY_DEVICES)
        on_devices(vm, value);
    else if (command == QMP_QUERY_SUMMARY)
        on_summary(vm, value);
    else if (command == QMP_SET_REQUESTED) {
        if (value && !json_is_object(value))
            backend_complain(b, "an answer to qom-set that is none");
        vm_state_set_done(&vm->state, json_is_object(value), now_usec());
    } else if (command == QMP_QUERY_STATUS)
        on_status(vm, value);
    else if (command == QMP_QUERY_MIGRATE && value)
        vm_state_migrating(&vm->state, qmp_decode_migrate(value), now_usec());
    drain(vm);
}

static void on_backend_event(struct backend *b, enum backend_event event, void *userdata)
{
    struct vm *vm = userdata;

    switch (event) {
    case BACKEND_SIZE:
        vm_state_size_event(&vm->state, now_usec());
        break;
    case BACKEND_RESET:
        vm_state_reset_event(&vm->state, now_usec());
        break;
    case BACKEND_STOPPED:
    case BACKEND_RUNS:
        vm_state_stopped(&vm->state, event == BACKEND_STOPPED, now_usec());
        break;
    case BACKEND_MIGRATING:
    case BACKEND_MIGRATED:
        vm_state_migrating(&vm->state, event == BACKEND_MIGRATING, now_usec());
        break;
    case _BACKEND_EVENT_MAX:
    case _BACKEND_EVENT_INVALID:
        break;
    }
    drain(vm);
}

static const struct backend_ops backend_callbacks = {
    .up = on_backend_up,
    .down = on_backend_down,
    .reply = on_backend_reply,
    .event = on_backend_event,
};

static int make_backend(struct vm *vm, sd_event *event, const struct vm_options *o)
{
    return o->domain ? libvirt_backend_new(o->libvirt, vm_name(vm), o->domain, o->qmp_timeout,
                               &backend_callbacks, vm, &vm->backend)
                     : qmp_new(event, vm_name(vm), o->qmp, o->qmp_timeout, &backend_callbacks, vm,
                               &vm->backend);
}

int vm_new(sd_event *event, const struct vm_options *options, const struct vm_ops *ops, void *userdata,
        struct vm **ret)
{
    struct vm *vm = g_new0(struct vm, 1);
    const char *name;
    int r;

    vm_state_init(&vm->state, &options->settings, now_usec());
    name = vm->state.settings.name;
    vm->ops = ops;
    vm->userdata = userdata;
    vm->procfs = g_strdup(options->procfs);
    vm->remembered = options->remembered;
    r = sd_event_add_time(event, &vm->timer, CLOCK_MONOTONIC, 0, ACCURACY_USEC, on_timer, vm);
    if (r >= 0)
        r = sd_event_source_set_enabled(vm->timer, SD_EVENT_OFF);
    if (r >= 0)
        r = make_backend(vm, event, options);
    if (r >= 0)
        r = guest_link_new(event, name, options->channel, &guest_callbacks, vm, &vm->link);
    if (r < 0) {
        vm_free(vm);
        return r;
    }
    *ret = vm;
    return 0;
}

struct vm *vm_free(struct vm *vm)
{
    if (!vm)
        return NULL;
    backend_free(vm->backend);
    guest_link_free(vm->link);
    sd_event_source_disable_unref(vm->timer);
    vm_state_clear(&vm->state);
    qemu_process_close(vm->qemu);
    g_free(vm->procfs);
    g_free(vm);
    return NULL;
}

void vm_configure(struct vm *vm, const struct vm_settings *settings)
{
    vm_state_configure(&vm->state, settings, now_usec());
    drain(vm);
}

pid_t vm_process(const struct vm *vm)
{
    return qemu_process_pid(vm->qemu);
}

const char *vm_name(const struct vm *vm)
{
    return vm->state.settings.name;
}

/* Log when at least a Linux memory block of shared memory does not count as touched. */
#define DOUBTFUL_LEAST MIB(128)

void vm_read_memory(struct vm *vm, bool own)
{
    struct qemu_memory memory = { 0 };
    int r = vm->qemu ? qemu_process_read(vm->qemu, &memory) : 0;

    /* The QEMU that had this promise has exited; a later one is a new process. */
    if (!vm_is_known(vm) && backend_absent(vm->backend))
        vm->remembered = 0;
    vm->exited = r == -ESRCH;
    vm->memory = memory;
    if (!own)
        vm->memory.touched = 0;
    if (r < 0 && !vm->exited)
        log_repeated(&vm->log_rss, now_usec(), LOG_WARNING,
                "%s: cannot read QEMU's memory: %s; none is counted", vm_name(vm), strerror(-r));
    if (memory.doubtful >= DOUBTFUL_LEAST)
        log_repeated(&vm->log_doubtful, now_usec(), LOG_NOTICE,
                "%s: %s of QEMU's shared memory counts as promised, not as used: process %ld has no cgroup "
                "of its own that is charged for it; run each QEMU in a unit of its own",
                vm_name(vm), FORMAT_BYTES(memory.doubtful), (long)vm->process);
    vm_state_held(&vm->state, vm->memory.resident, now_usec());
    if (vm->state.actions->len > 0)
        drain(vm);
}

int vm_accept(struct vm *vm, int fd)
{
    return guest_link_accept(vm->link, fd);
}

void vm_view(const struct vm *vm, struct vm_view *ret)
{
    vm_state_view(&vm->state, now_usec(), ret);
    ret->process = vm->process;
}

int vm_ask_shrink(struct vm *vm, uint64_t size, const char *reason)
{
    int r = vm_state_ask_shrink(&vm->state, size, reason);

    drain(vm);
    return r;
}

void vm_pause(struct vm *vm, const char *why, uint64_t usec)
{
    vm_state_pause(&vm->state, why, usec, now_usec());
    drain(vm);
}

void vm_resume(struct vm *vm)
{
    vm_state_resume(&vm->state, now_usec());
    drain(vm);
}

bool vm_is_known(const struct vm *vm)
{
    return vm->state.boot_size > 0;
}

uint64_t vm_promised(const struct vm *vm)
{
    /* A connection alone proves nothing: any process can accept it and stay silent. */
    if (!vm_is_known(vm))
        return vm->remembered;
    if (vm->exited)
        return 0;
    return sub_floor(bytes_add_up(vm->state.boot_size, vm_state_committed(&vm->state)), vm->memory.touched);
}

bool vm_claims(const struct vm *vm)
{
    return vm->state.claim > 0 || vm->state.queue_len > 0;
}

int vm_ask_spare(struct vm *vm, uint64_t bytes)
{
    int r = vm_state_ask_spare(&vm->state, bytes, now_usec());

    drain(vm);
    return r;
}

void vm_share(const struct vm *vm, struct share_vm *ret)
{
    vm_state_share(&vm->state, now_usec(), ret);
}
