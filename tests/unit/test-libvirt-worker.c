/* SPDX-License-Identifier: MIT */
/* The threads that speak to libvirt, with libvirt's own test driver in this process. */
#include "unit.h"

#include <libvirt/libvirt.h>
#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

#include "libvirt-worker.h"

#define URI "test:///default"
#define WAIT_MSEC 20000

/* The next one that is told, NULL: none in time. */
static struct libvirt_news *next(struct libvirt_worker *w)
{
    struct pollfd fd = { .fd = libvirt_worker_fd(w), .events = POLLIN };
    struct libvirt_news *n = libvirt_worker_take(w);

    while (!n && poll(&fd, 1, WAIT_MSEC) > 0)
        n = libvirt_worker_take(w);
    return n;
}

/* Takes up to one of this type. How many came, and the last one's command or text. */
static unsigned take_until(struct libvirt_worker *w, enum libvirt_news_type type, char **ret_text)
{
    struct libvirt_news *n;
    unsigned count = 0;
    bool found = false;

    while (!found) {
        n = next(w);
        assert_non_null(n);
        count++;
        found = n->type == type;
        if (found && ret_text)
            *ret_text = g_strdup(n->text);
        libvirt_news_free(n);
    }
    return count;
}

static atomic_uint heard;

static int on_event(virConnectPtr c, virDomainPtr domain, int event, int detail, void *userdata)
{
    atomic_fetch_add(&heard, 1);
    return 0;
}

/* Until libvirt has told all of it: who takes meanwhile may be fast enough to stay ahead. */
static void wait_heard(unsigned n)
{
    for (unsigned i = 0; i < WAIT_MSEC && atomic_load(&heard) < n; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&heard), n);
}

static void test_a_flood_is_bounded(void **state)
{
    g_autofree char *why = NULL;
    struct libvirt_worker *w;
    virDomainPtr domain;
    virConnectPtr c;

    assert_int_equal(libvirt_worker_new(URI, &w), 0);
    (void)take_until(w, LIBVIRT_NEWS_OPENED, NULL);
    (void)take_until(w, LIBVIRT_NEWS_LISTED, NULL);
    c = virConnectOpen(URI);
    domain = c ? virDomainLookupByName(c, "test") : NULL;
    assert_non_null(domain);
    /* After the worker's own, so that it comes after it for each event. */
    assert_true(virConnectDomainEventRegisterAny(c, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                        VIR_DOMAIN_EVENT_CALLBACK(on_event), NULL, NULL) >= 0);
    for (unsigned i = 0; i < LIBVIRT_NEWS_MAX; i++) {
        assert_int_equal(virDomainSuspend(domain), 0);
        assert_int_equal(virDomainResume(domain), 0);
    }
    wait_heard(2 * LIBVIRT_NEWS_MAX);
    assert_in_range(take_until(w, LIBVIRT_NEWS_LOST, &why), LIBVIRT_NEWS_MAX, LIBVIRT_NEWS_MAX + 16);
    assert_non_null(strstr(why, "more than can be listened to"));
    /* It is all told anew. */
    (void)take_until(w, LIBVIRT_NEWS_OPENED, NULL);
    (void)take_until(w, LIBVIRT_NEWS_LISTED, NULL);
    virDomainFree(domain);
    (void)virConnectClose(c);
    libvirt_worker_leave(w);
}

static void test_commands_have_one_answer_each(void **state)
{
    struct libvirt_worker *w;
    char test[] = "test", nobody[] = "nobody";
    bool seen[300] = { false };

    assert_int_equal(libvirt_worker_new(URI, &w), 0);
    (void)take_until(w, LIBVIRT_NEWS_LISTED, NULL);
    for (uint64_t i = 0; i < ELEMENTSOF(seen); i++)
        assert_int_equal(libvirt_worker_send(w, &(struct libvirt_work){ .id = i,
                                                        .domain = i % 3 > 0 ? test : nobody,
                                                        .command = QMP_QUERY_STATUS }),
                0);
    for (uint64_t i = 0, at = 0; i < ELEMENTSOF(seen); i++) {
        struct libvirt_news *n = next(w);

        assert_non_null(n);
        assert_int_equal(n->type, LIBVIRT_NEWS_REPLY);
        assert_false(seen[n->id]);
        seen[n->id] = true;
        /* Those of one domain in their order. */
        assert_true(n->id % 3 == 0 || n->id >= at);
        at = n->id % 3 > 0 ? n->id : at;
        assert_int_equal(n->value != NULL, n->id % 3 > 0);
        assert_int_equal(n->text == NULL, n->id % 3 > 0);
        libvirt_news_free(n);
    }
    libvirt_worker_leave(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands_have_one_answer_each),
        cmocka_unit_test(test_a_flood_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
