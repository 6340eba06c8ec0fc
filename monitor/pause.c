/* SPDX-License-Identifier: MIT */
#include "pause.h"

#include <inttypes.h>

#include "log.h"
#include "service.h"

static int on_pause_expired(sd_event_source *source, uint64_t usec, void *userdata)
{
    pause_end(userdata);
    return 0;
}

int pause_init(struct pause *p, sd_event *event, void (*changed)(void *userdata), void *userdata)
{
    int r = sd_event_add_time(event, &p->timer, CLOCK_MONOTONIC, 0, USEC_PER_SEC, on_pause_expired, p);

    p->changed = changed;
    p->userdata = userdata;
    return r < 0 ? r : sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
}

void pause_done(struct pause *p)
{
    p->timer = sd_event_source_disable_unref(p->timer);
}

void pause_begin(struct pause *p, const char *why, uint32_t seconds)
{
    uint64_t usec = (uint64_t)seconds * USEC_PER_SEC;

    p->until = seconds > 0 ? realtime_usec() + usec : UINT64_MAX;
    (void)snprintf(p->reason, sizeof(p->reason), "%s", why);
    (void)sd_event_source_set_time_relative(p->timer, usec);
    (void)sd_event_source_set_enabled(p->timer, seconds > 0 ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
    if (seconds > 0)
        log_notice("paused for %" PRIu32 " s: %s", seconds, why);
    else
        log_notice("paused until Resume: %s", why);
    p->changed(p->userdata);
}

void pause_end(struct pause *p)
{
    if (p->until == 0)
        return;
    p->until = 0;
    p->reason[0] = '\0';
    (void)sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
    log_notice("resumed");
    p->changed(p->userdata);
}
