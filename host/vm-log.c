/* SPDX-License-Identifier: MIT */
#include "vm-log.h"

#include "bytes.h"

static unsigned long long msec(uint64_t usec)
{
    return usec / USEC_PER_MSEC;
}

/* "host: available 9.1G, reserve 1G, promised 2G" */
static const char *format_host(char buf[static 128], const struct grant_host *h)
{
    if (h->known)
        (void)snprintf(buf, 128, "host: available %s, reserve %s, promised %s", FORMAT_BYTES(h->available),
                FORMAT_BYTES(h->reserve), FORMAT_BYTES(h->promised));
    else
        (void)snprintf(buf, 128, "host: numbers not looked at or not known");
    return buf;
}
#define FORMAT_HOST(h) format_host((char[128]){ 0 }, (h))

static void log_granted(const char *vm, const struct vm_note *n)
{
    log_info("%s: %s: requested size %s to %s (asked %s, size %s, reason '%s'; %s); QEMU answered after %llu "
             "us",
            vm, n->origin == VM_ORIGIN_MIN ? "raised" : "granted", FORMAT_BYTES(n->was),
            FORMAT_BYTES(n->requested), FORMAT_BYTES(n->wanted), FORMAT_BYTES(n->size), n->text,
            FORMAT_HOST(&n->host), (unsigned long long)n->usec);
}

static void log_refused(struct vm_log *l, const char *vm, const struct vm_note *n, uint64_t now)
{
    log_repeated(&l->refused[n->code], now, LOG_NOTICE,
            "%s: refused %s: %s (asked %s, size %s, requested %s; %s)", vm, channel_code_to_string(n->code),
            n->text, FORMAT_BYTES(n->wanted), FORMAT_BYTES(n->size), FORMAT_BYTES(n->requested),
            FORMAT_HOST(&n->host));
}

/* What the guest does or says. */
static bool log_guest(struct vm_log *l, const char *vm, const struct vm_note *n, uint64_t now)
{
    struct log_repeat *r = &l->repeat[n->type];

    if (n->type == VM_NOTE_HELLO)
        log_repeated(r, now, LOG_INFO, "%s: guest says hello: %s", vm, n->text);
    else if (n->type == VM_NOTE_VERSION)
        log_repeated(r, now, LOG_WARNING, "%s: guest speaks version %llu of the channel, this is %u", vm,
                (unsigned long long)n->wanted, CHANNEL_VERSION);
    else if (n->type == VM_NOTE_SILENT)
        log_repeated(r, now, LOG_NOTICE, "%s: guest is silent for %llu s: taken for gone", vm,
                (unsigned long long)(n->usec / USEC_PER_SEC));
    else if (n->type == VM_NOTE_RESET)
        log_repeated(r, now, LOG_INFO, "%s: reset: QEMU unplugs all and keeps requested size %s", vm,
                FORMAT_BYTES(n->requested));
    else if (n->type == VM_NOTE_ASK_SHRINK)
        log_repeated(r, now, LOG_NOTICE, "%s: guest asked to shrink to %s: %s (size %s, requested %s)", vm,
                FORMAT_BYTES(n->wanted), n->text, FORMAT_BYTES(n->size), FORMAT_BYTES(n->requested));
    else if (n->type == VM_NOTE_DECLINED)
        log_repeated(r, now, LOG_NOTICE, "%s: guest declines to shrink to %s: %s (size %s)", vm,
                FORMAT_BYTES(n->wanted), channel_code_to_string(n->code), FORMAT_BYTES(n->size));
    else
        return false;
    return true;
}

/* What became of the VM. */
static bool log_life(struct vm_log *l, const char *vm, const struct vm_note *n, uint64_t now)
{
    struct log_repeat *r = &l->repeat[n->type];

    if (n->type == VM_NOTE_STOPPED)
        log_repeated(r, now, LOG_INFO, "%s: QEMU does not run the guest", vm);
    else if (n->type == VM_NOTE_RUNS)
        log_repeated(r, now, LOG_INFO, "%s: QEMU runs the guest again", vm);
    else if (n->type == VM_NOTE_MIGRATING)
        log_repeated(r, now, LOG_INFO, "%s: migrating: size %s, requested %s stay", vm, FORMAT_BYTES(n->size),
                FORMAT_BYTES(n->requested));
    else if (n->type == VM_NOTE_MIGRATED)
        log_repeated(r, now, LOG_INFO, "%s: the migration is over", vm);
    else if (n->type == VM_NOTE_OVER_HELD)
        log_repeated(r, now, LOG_WARNING,
                "%s: QEMU holds %s, boot memory and what was granted are %s: the guest uses memory that it "
                "unplugged, or QEMU needs more of its own than HeldSlack=; no more is granted",
                vm, FORMAT_BYTES(n->wanted), FORMAT_BYTES(n->was));
    else if (n->type == VM_NOTE_HELD_WELL)
        log_repeated(r, now, LOG_NOTICE, "%s: QEMU holds %s again, boot memory and what was granted are %s",
                vm, FORMAT_BYTES(n->wanted), FORMAT_BYTES(n->was));
    else if (n->type == VM_NOTE_PAUSED && n->usec == USEC_FOREVER)
        log_notice("%s: paused until Resume: %s", vm, n->text);
    else if (n->type == VM_NOTE_PAUSED)
        log_notice("%s: paused for %llu s: %s", vm, (unsigned long long)(n->usec / USEC_PER_SEC), n->text);
    else if (n->type == VM_NOTE_RESUMED)
        log_notice("%s: resumed", vm);
    else
        return false;
    return true;
}

/* What the device does. */
static void log_device(struct vm_log *l, const char *vm, const struct vm_note *n, uint64_t now)
{
    struct log_repeat *r = &l->repeat[n->type];
    const char *size = FORMAT_BYTES(n->size), *requested = FORMAT_BYTES(n->requested);

    if (n->type == VM_NOTE_KNOWN)
        log_info("%s: size %s, requested %s", vm, size, requested);
    else if (n->type == VM_NOTE_SET_FAILED)
        log_repeated(r, now, LOG_WARNING, "%s: QEMU did not take requested size %s of device %s", vm,
                FORMAT_BYTES(n->wanted), n->text);
    else if (n->type == VM_NOTE_KICK)
        log_repeated(r, now, LOG_NOTICE, "%s: size %s, requested %s: no progress for %llu ms, set again", vm,
                size, requested, msec(n->usec));
    else if (n->type == VM_NOTE_UNSTUCK)
        log_repeated(r, now, LOG_NOTICE, "%s: shrink to %s stuck at %s for %llu ms: ended, requested %s", vm,
                FORMAT_BYTES(n->was), size, msec(n->usec), requested);
    else if (n->type == VM_NOTE_FOREIGN)
        log_repeated(r, now, LOG_NOTICE, "%s: somebody else changed the requested size from %s to %s", vm,
                FORMAT_BYTES(n->was), requested);
    else if (n->type == VM_NOTE_COMPLETE)
        log_debug("%s: size %s is the requested size after %llu ms", vm, size, msec(n->usec));
    else if (n->type == VM_NOTE_ROOM)
        log_repeated(
                r, now, LOG_INFO, "%s: told the guest that there is room (%s)", vm, FORMAT_HOST(&n->host));
}

void vm_log_note(
        struct vm_log *l, const struct vm_settings *settings, const struct vm_note *note, uint64_t now)
{
    if (note->type == VM_NOTE_GRANTED)
        log_granted(settings->name, note);
    else if (note->type == VM_NOTE_REFUSED)
        log_refused(l, settings->name, note, now);
    else if (!log_guest(l, settings->name, note, now) && !log_life(l, settings->name, note, now))
        log_device(l, settings->name, note, now);
}
