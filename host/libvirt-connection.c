/* SPDX-License-Identifier: MIT */
/* The connection, and what libvirt tells by itself. */
#include "libvirt-worker-internal.h"

#include "macro.h"

/* libvirtd is taken for gone when it does not answer so many of these: 15 s. */
#define KEEPALIVE_SECONDS 5
#define KEEPALIVE_COUNT 3u

/* It may end, and begin anew, while it is looked at. What libvirt tells of that comes either before the last
 * look here, which then sees it, or after it, and is told after what is told here. */
void libvirt_describe(struct libvirt_worker *w, virDomainPtr domain, const char *name)
{
    struct libvirt_news n = { .type = LIBVIRT_NEWS_RUNS };
    char *xml = virDomainIsActive(domain) == 1 ? virDomainGetXMLDesc(domain, 0) : NULL;

    if (xml) {
        (void)domain_xml_describe(xml, &n.info);
        n.domain = g_strdup(name);
        libvirt_tell(w, n);
    }
    free(xml);
    if (virDomainIsActive(domain) == 0)
        libvirt_tell(w, (struct libvirt_news){ .type = LIBVIRT_NEWS_GONE, .domain = g_strdup(name) });
}

static int describe_all(struct libvirt_worker *w, virConnectPtr c)
{
    virDomainPtr *domains = NULL;
    int n = virConnectListAllDomains(c, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);

    for (int i = 0; i < n; i++) {
        libvirt_describe(w, domains[i], virDomainGetName(domains[i]));
        virDomainFree(domains[i]);
    }
    free(domains);
    if (n < 0)
        return -EIO;
    libvirt_tell(w, (struct libvirt_news){ .type = LIBVIRT_NEWS_LISTED });
    return 0;
}

static void tell_event(struct libvirt_worker *w, virDomainPtr domain, enum backend_event event)
{
    libvirt_tell(w, (struct libvirt_news){
                            .type = LIBVIRT_NEWS_EVENT,
                            .domain = g_strdup(virDomainGetName(domain)),
                            .event = event,
                    });
}

static int on_lifecycle(virConnectPtr c, virDomainPtr domain, int event, int detail, void *userdata)
{
    struct libvirt_worker *w = userdata;
    const char *name = virDomainGetName(domain);

    if (event == VIR_DOMAIN_EVENT_STOPPED)
        libvirt_tell(w, (struct libvirt_news){ .type = LIBVIRT_NEWS_GONE, .domain = g_strdup(name) });
    else if (event == VIR_DOMAIN_EVENT_SUSPENDED || event == VIR_DOMAIN_EVENT_PMSUSPENDED)
        tell_event(w, domain, BACKEND_STOPPED);
    else if (event == VIR_DOMAIN_EVENT_RESUMED ||
             (event == VIR_DOMAIN_EVENT_STARTED && detail == VIR_DOMAIN_EVENT_STARTED_WAKEUP))
        tell_event(w, domain, BACKEND_RUNS);
    /* One whose guest crashed may be kept. */
    if (event == VIR_DOMAIN_EVENT_STARTED || event == VIR_DOMAIN_EVENT_CRASHED)
        libvirt_look_at(w, name);
    return 0;
}

static void on_size(
        virConnectPtr c, virDomainPtr domain, const char *alias, unsigned long long size, void *userdata)
{
    tell_event(userdata, domain, BACKEND_SIZE);
}

static void on_reboot(virConnectPtr c, virDomainPtr domain, void *userdata)
{
    tell_event(userdata, domain, BACKEND_RESET);
}

static void on_iteration(virConnectPtr c, virDomainPtr domain, int iteration, void *userdata)
{
    tell_event(userdata, domain, BACKEND_MIGRATING);
}

static void on_job_over(virConnectPtr c, virDomainPtr domain, virTypedParameterPtr p, int n, void *userdata)
{
    tell_event(userdata, domain, BACKEND_MIGRATED);
}

/* A memory device that was plugged in or out makes it another VM. */
static void on_device(virConnectPtr c, virDomainPtr domain, const char *alias, void *userdata)
{
    libvirt_look_at(userdata, virDomainGetName(domain));
}

static void on_close(virConnectPtr c, int reason, void *userdata)
{
    libvirt_give_up(userdata);
}

static int listen_to(struct libvirt_worker *w, virConnectPtr c)
{
    static const struct {
        int id;
        virConnectDomainEventGenericCallback callback;
        bool needed;
    } events[] = {
        { VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), true },
        { VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_size), true },
        { VIR_DOMAIN_EVENT_ID_REBOOT, VIR_DOMAIN_EVENT_CALLBACK(on_reboot), true },
        { VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(on_device), false },
        { VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_device), false },
        { VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, VIR_DOMAIN_EVENT_CALLBACK(on_iteration), false },
        { VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_job_over), false },
    };

    G_STATIC_ASSERT(ELEMENTSOF(events) <= LIBVIRT_EVENTS_MAX);
    for (size_t i = 0; i < ELEMENTSOF(events); i++) {
        w->callbacks[i] =
                virConnectDomainEventRegisterAny(c, NULL, events[i].id, events[i].callback, w, NULL);
        if (w->callbacks[i] < 0 && events[i].needed)
            return -EIO;
    }
    return 0;
}

static int open_one(struct libvirt_worker *w, virConnectPtr *ret)
{
    *ret = virConnectOpen(w->uri);
    if (!*ret)
        return -EIO;
    /* What is in this process needs none. */
    return virConnectSetKeepAlive(*ret, KEEPALIVE_SECONDS, KEEPALIVE_COUNT) >= 0 ||
                           virGetLastErrorCode() == VIR_ERR_NO_SUPPORT
                   ? 0
                   : -EIO;
}

int libvirt_connections_open(struct libvirt_worker *w, struct libvirt_connections *ret)
{
    int r;

    *ret = (struct libvirt_connections){ 0 };
    for (size_t i = 0; i < LIBVIRT_EVENTS_MAX; i++)
        w->callbacks[i] = -1;
    r = open_one(w, &ret->telling);
    for (unsigned i = 0; r >= 0 && i < LIBVIRT_CALLS; i++)
        r = open_one(w, &ret->calls[i]);
    if (r < 0 || virConnectRegisterCloseCallback(ret->telling, on_close, w, NULL) < 0 ||
            listen_to(w, ret->telling) < 0)
        return -EIO;
    libvirt_tell(w, (struct libvirt_news){ .type = LIBVIRT_NEWS_OPENED });
    return describe_all(w, ret->telling);
}

void libvirt_connections_close(struct libvirt_worker *w, struct libvirt_connections *c)
{
    for (unsigned i = 0; i < LIBVIRT_CALLS; i++)
        if (c->calls[i])
            (void)virConnectClose(c->calls[i]);
    if (!c->telling)
        return;
    for (size_t i = 0; i < LIBVIRT_EVENTS_MAX; i++)
        if (w->callbacks[i] >= 0)
            (void)virConnectDomainEventDeregisterAny(c->telling, w->callbacks[i]);
    (void)virConnectUnregisterCloseCallback(c->telling, on_close);
    (void)virConnectClose(c->telling);
}
