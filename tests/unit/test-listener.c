/* SPDX-License-Identifier: MIT */
/* A listening socket without free descriptors: the loop does not turn without end, and goes on afterwards. */
#include "unit.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "listener.h"
#include "service.h"

#define BACKLOG 8

struct world {
    sd_event *event;
    struct listener *listener;
    struct sockaddr_un address;
    socklen_t len;
    unsigned calls, accepted;
};

static void on_ready(struct listener *l, int fd, void *userdata)
{
    struct world *w = userdata;
    int r = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

    w->calls++;
    if (r < 0) {
        listener_failed(l, -errno);
        return;
    }
    w->accepted++;
    close(r);
}

/* An address that the kernel gives, without a file. */
static void open_world(struct world *w)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    *w = (struct world){ .address = { .sun_family = AF_UNIX }, .len = sizeof(w->address) };
    assert_int_equal(bind(fd, (struct sockaddr *)&w->address, sizeof(sa_family_t)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&w->address, &w->len), 0);
    assert_int_equal(listen(fd, BACKLOG), 0);
    assert_int_equal(sd_event_new(&w->event), 0);
    assert_int_equal(listener_new(w->event, fd, "test", on_ready, w, &w->listener), 0);
}

static void close_world(struct world *w)
{
    w->listener = listener_free(w->listener);
    sd_event_unref(w->event);
}

static int call(const struct world *w)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (const struct sockaddr *)&w->address, w->len), 0);
    return fd;
}

/* Turns of the loop in so much time. */
static unsigned run(struct world *w, uint64_t usec)
{
    uint64_t end = now_usec() + usec, now;
    unsigned turns = 0;

    while ((now = now_usec()) < end)
        turns += sd_event_run(w->event, end - now) > 0;
    return turns;
}

static void limit_fds(rlim_t n)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = n;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void test_without_descriptors(void **state)
{
    struct rlimit before;
    struct world w;
    /* Under valgrind accept() takes a connection before it fails: each look has one of its own. */
    int callers[BACKLOG];

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    open_world(&w);
    for (size_t i = 0; i < ELEMENTSOF(callers); i++)
        callers[i] = call(&w);
    limit_fds(1);
    /* Each pause is two events of the loop, its end and the next failure. */
    assert_in_range(run(&w, 4 * LISTENER_PAUSE_USEC), 2, 12);
    assert_in_range(w.calls, 2, 6);
    assert_int_equal(w.accepted, 0);
    limit_fds(before.rlim_cur);
    /* Nothing comes that could wake it: it looks again by itself. */
    for (unsigned i = 0; i < 20 && w.accepted == 0; i++)
        (void)run(&w, LISTENER_PAUSE_USEC);
    assert_true(w.accepted > 0);
    for (size_t i = 0; i < ELEMENTSOF(callers); i++)
        close(callers[i]);
    close_world(&w);
}

/* One that has gone again is no reason to wait. */
static void test_no_failure(void **state)
{
    static const int none[] = { -EAGAIN, -EINTR, -ECONNABORTED };
    struct world w;

    open_world(&w);
    for (size_t i = 0; i < ELEMENTSOF(none); i++) {
        int caller = call(&w);

        listener_failed(w.listener, none[i]);
        assert_true(sd_event_run(w.event, 0) > 0);
        assert_int_equal(w.accepted, i + 1);
        close(caller);
    }
    close_world(&w);
}

static void test_pause(void **state)
{
    struct world w;
    int caller;

    open_world(&w);
    caller = call(&w);
    listener_pause(w.listener, 300 * USEC_PER_MSEC);
    (void)run(&w, 50 * USEC_PER_MSEC);
    assert_int_equal(w.calls, 0);
    for (unsigned i = 0; i < 20 && w.accepted == 0; i++)
        (void)run(&w, 100 * USEC_PER_MSEC);
    assert_int_equal(w.accepted, 1);
    close(caller);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_descriptors),
        cmocka_unit_test(test_no_failure),
        cmocka_unit_test(test_pause),
    };

    return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
