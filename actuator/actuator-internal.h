/* SPDX-License-Identifier: MIT */
#pragma once

#include "actuator.h"
#include "guard-control.h"
#include "host-link.h"
#include "kernel-settings.h"
#include "log.h"
#include "news.h"
#include "onlining.h"
#include "progress.h"
#include "ratelimit.h"

/* What actuator.c and actuator-requests.c share. */

struct request {
    enum limits_verb verb;
    enum actuator_origin origin;
    uint64_t bytes;
    uint64_t size; /* up to which to plug; 0: bytes more, or fewer */
    char reason[ACTUATOR_REASON_MAX + 1];
    actuator_done_t done;
    void *userdata;
    uint64_t deadline;
};

/* A memory block that is to come online in a kernel zone. */
struct kernel_block {
    uint64_t managed;  /* of the kernel zones, before it was asked for */
    uint64_t deadline; /* 0: none is on its way */
    struct log_repeat begin_log, end_log;
};

struct actuator {
    sd_event *event;
    sd_event_source *timeout;
    sd_event_source *progress_timer;
    sd_event_source *manual_timer;
    struct host_link *link;
    struct guard_control *guard;
    struct kernel_settings *kernel;
    sd_event_source *kernel_timer;
    struct kernel_block kernel_block;
    struct actuator_config config; /* a copy of the numbers; its strings are not ours */
    char *sysfs;
    char *meminfo; /* its path */
    struct actuator_view view;
    struct limits limits;
    struct progress progress;
    struct onlining onlining;

    struct request queue[ACTUATOR_QUEUE_MAX]; /* the first one is with the host when sent */
    unsigned queued;
    bool sent;
    bool late; /* the host owes an answer still, and its caller has given up */
    uint64_t sent_id;
    uint64_t sent_at;
    struct bucket bucket;
    struct bucket reserve_bucket;
    struct bucket report_bucket;
    struct bucket refused_bucket;

    uint64_t shrink_id; /* what the host asked for last; 0: nothing */
    uint64_t shrink_size;
    char shrink_reason[ACTUATOR_REASON_MAX + 1];
    struct news shrink_news;
    struct news room_news;
    sd_event_source *news_timer;
    char reason[ACTUATOR_REASON_MAX + 1]; /* of what the size is changing for */

    char *limits_saved;
    bool limits_set; /* over the configuration's */
    uint64_t manual_floor;
    uint64_t reserved_floor;

    struct log_repeat flood_fault;
    const struct actuator_ops *ops;
    void *ops_userdata;
};

/* Shows what is true now. */
void actuator_publish(struct actuator *a);
void actuator_set_timer(sd_event_source *timer, uint64_t at);
/* The driver may be loaded after us. */
void actuator_look_for_device(struct actuator *a);
void actuator_keep_onlining(struct actuator *a, bool look_again);

/* Says that these limits are in force and not the configuration's. */
void actuator_say_limits(const struct actuator *a, const char *whose);
/* Timers and what was saved; and their end. */
int actuator_admin_start(struct actuator *a, const char *limits_saved);
void actuator_admin_stop(struct actuator *a);
/* An administrator's request was made, or granted with this requested size. */
void actuator_manual_asked(struct actuator *a, enum limits_verb verb, uint64_t bytes);
void actuator_manual_granted(struct actuator *a, const struct request *r, uint64_t requested_size);

/* kernel-block.c: a timer, and its end. */
int actuator_kernel_block_start(struct actuator *a);
void actuator_kernel_block_stop(struct actuator *a);
/* Called before the monitor's plug is sent. When the kernel zones run short, what is plugged next goes to
 * one of them, and the target is lowered to one memory block. */
uint64_t actuator_kernel_block_begin(struct actuator *a, const struct request *r, uint64_t target);
/* The host has answered the request, and the block was granted or not. */
void actuator_kernel_block_answered(struct actuator *a, bool granted);
/* True while what is plugged would still go to a kernel zone: no other plug is sent then. */
bool actuator_kernel_block_is_pending(const struct actuator *a);

/* The time-out of the first of the queue. */
int actuator_on_timeout(sd_event_source *source, uint64_t usec, void *userdata);
/* The answer to the request that is with the host, of which that was the id. True: it was the one waited for,
 * and *ret is what it asked for, out of the queue. */
bool actuator_answered(struct actuator *a, uint64_t id, struct request *ret);
/* Tells the one who asked, and everybody. */
void actuator_refuse(struct actuator *a, const struct request *r, const char *error, const char *text);
/* Sends the first of the queue when none is with the host. */
void actuator_send_next(struct actuator *a);
