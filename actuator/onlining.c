/* SPDX-License-Identifier: MIT */
#include "onlining.h"

#include "service.h"

static void online_waiting(struct onlining *o, enum hotplug_onlining policy)
{
    unsigned failed = 0;
    int online = hotplug_online_waiting(o->sysfs, policy, &failed);

    if (online < 0)
        log_repeated(&o->fault, now_usec(), LOG_ERR, "memory blocks cannot be listed: %s", strerror(-online));
    else if (failed > 0)
        log_repeated(&o->fault, now_usec(), LOG_WARNING,
                "%d memory blocks waited offline and were brought online, %u would not", online, failed);
    else if (online > 0)
        log_info("%d memory blocks waited offline and were brought online", online);
}

void onlining_keep(struct onlining *o, uint64_t max_size, bool look_again)
{
    enum hotplug_onlining policy = hotplug_choose(o->wanted, o->boot_size, max_size);
    int changed;

    if (o->kernel)
        return;
    changed = hotplug_set_policy(o->sysfs, policy);
    if (changed < 0) {
        log_repeated(&o->fault, now_usec(), LOG_ERR,
                "onlining policy %s cannot be set: %s; plugged memory may stay offline",
                hotplug_onlining_to_string(policy), strerror(-changed));
        return;
    }
    if (changed > 0)
        log_info("onlining policy set to %s (boot memory %s, max size %s)",
                hotplug_onlining_to_string(policy), FORMAT_BYTES(o->boot_size),
                max_size == UINT64_MAX ? "not known yet" : FORMAT_BYTES(max_size));
    if (changed > 0 || look_again)
        online_waiting(o, policy);
}

int onlining_begin_kernel(struct onlining *o)
{
    int r = o->wanted == HOTPLUG_KEEP ? -EOPNOTSUPP : hotplug_set_kernel_policy(o->sysfs);

    if (r >= 0)
        o->kernel = true;
    return r < 0 ? r : 0;
}

void onlining_end_kernel(struct onlining *o)
{
    o->kernel = false;
}
