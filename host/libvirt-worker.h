/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>

#include "backend.h"
#include "domain-xml.h"

/* The threads that speak to libvirt. What goes in and what comes out are queues; nothing else is shared. */
struct libvirt_worker;

/* Calls at a time, each of another domain and on a connection of its own: one whose QEMU hangs takes one. */
#define LIBVIRT_CALLS 4u
/* What is waiting to be done, of all domains: more than all of them together ask without an answer. */
#define LIBVIRT_QUEUE_MAX 65536u
/* What was not taken yet: more than each domain's start, its events and answers of a moment. A libvirtd that
 * tells more has its connection opened anew, and what there is listed again. */
#define LIBVIRT_NEWS_MAX 65536u

struct libvirt_work {
    uint64_t id;
    char *domain;
    enum qmp_command command;
    char device[DEVICE_ID_MAX];
    uint64_t value;
};

enum libvirt_news_type {
    LIBVIRT_NEWS_OPENED,
    LIBVIRT_NEWS_LOST,   /* text: why; no domain is known any more */
    LIBVIRT_NEWS_RUNS,   /* domain, info */
    LIBVIRT_NEWS_LISTED, /* all that run were told of */
    LIBVIRT_NEWS_GONE,   /* domain */
    LIBVIRT_NEWS_EVENT,  /* domain, event */
    LIBVIRT_NEWS_REPLY,  /* domain, id, command, value or text */
    _LIBVIRT_NEWS_TYPE_MAX,
    _LIBVIRT_NEWS_TYPE_INVALID = -EINVAL,
};

struct libvirt_news {
    enum libvirt_news_type type;
    uint64_t id;
    char *domain;
    enum backend_event event;
    enum qmp_command command;
    json_t *value; /* NULL: it failed */
    char *text;
    struct domain_info info;
};
void libvirt_news_free(struct libvirt_news *n);

int libvirt_worker_new(const char *uri, struct libvirt_worker **ret);
/* The threads end when libvirt lets them; until then they hold what they need themselves. */
void libvirt_worker_leave(struct libvirt_worker *w);

/* Readable when there are news; take them until there are none. */
int libvirt_worker_fd(const struct libvirt_worker *w);
struct libvirt_news *libvirt_worker_take(struct libvirt_worker *w);

/* -ENOBUFS: too much waits already. */
int libvirt_worker_send(struct libvirt_worker *w, const struct libvirt_work *work);
/* Commands to the domain that were not begun are not carried out any more. NULL: to all. */
void libvirt_worker_forget(struct libvirt_worker *w, const char *domain);
