/* SPDX-License-Identifier: MIT */
/* Who is let in, and what knocking without pause gets. Sockets of AF_UNIX stand for those of vsock, which not
 * every machine has a loopback for. */
#include "unit.h"

#include <glib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "service.h"
#include "vsock-door.h"
#include "vsock.h"

#define CID 7u

static struct {
    sd_event *event;
    struct vsock_door *door;
    struct sockaddr_un address;
    socklen_t len;
    struct vsock_address from; /* of whoever comes next */
    int enter;                 /* what its VM says */
    unsigned came, entered, asked;
    uint32_t cid;
} w;

int vsock_listen(uint32_t port)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_int_equal(port, VSOCK_PORT_DEFAULT);
    w.address.sun_family = AF_UNIX;
    w.len = sizeof(w.address);
    assert_int_equal(bind(fd, (struct sockaddr *)&w.address, sizeof(sa_family_t)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&w.address, &w.len), 0);
    assert_int_equal(listen(fd, 128), 0);
    return fd;
}

int vsock_accept(int listening, struct vsock_address *ret_from)
{
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return -errno;
    *ret_from = w.from;
    w.came++;
    return fd;
}

static int on_enter(uint32_t cid, int fd, void *userdata)
{
    w.asked++;
    w.cid = cid;
    if (w.enter < 0)
        return w.enter;
    w.entered++;
    close(fd);
    return 0;
}

static int open_door(void **state)
{
    memset(&w, 0, sizeof(w));
    w.from = (struct vsock_address){ .cid = CID, .port = VSOCK_PRIVILEGED_MAX };
    assert_int_equal(sd_event_new(&w.event), 0);
    assert_int_equal(vsock_door_new(w.event, VSOCK_PORT_DEFAULT, on_enter, NULL, &w.door), 0);
    return 0;
}

static int close_door(void **state)
{
    vsock_door_free(w.door);
    sd_event_unref(w.event);
    return 0;
}

/* Connects as often as the kernel lets it, and leaves again. Returns whether it did. */
static bool knock(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool in = connect(fd, (struct sockaddr *)&w.address, w.len) == 0;

    close(fd);
    return in;
}

static void settle(void)
{
    while (sd_event_run(w.event, 0) > 0)
        ;
}

static void test_who_is_let_in(void **state)
{
    static const struct {
        uint32_t port;
        int enter;
        unsigned asked, entered;
    } rows[] = {
        { 1, 0, 1, 1 },
        { VSOCK_PRIVILEGED_MAX, 0, 1, 1 },
        { VSOCK_PRIVILEGED_MAX + 1, 0, 0, 0 },
        { UINT32_MAX - 1, 0, 0, 0 },
        { VSOCK_PRIVILEGED_MAX, -ENOENT, 1, 0 },
        { VSOCK_PRIVILEGED_MAX, -EBUSY, 1, 0 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        w.asked = w.entered = 0;
        w.from.port = rows[i].port;
        w.enter = rows[i].enter;
        assert_true(knock());
        settle();
        assert_int_equal(w.asked, rows[i].asked);
        assert_int_equal(w.entered, rows[i].entered);
        if (w.asked > 0)
            assert_int_equal(w.cid, CID);
    }
}

/* All the guests of a host that was started anew. */
static void test_many_who_may(void **state)
{
    unsigned knocks = 0;

    for (unsigned i = 0; i < 1000; i++) {
        knocks += knock();
        settle();
    }
    assert_int_equal(knocks, 1000);
    assert_int_equal(w.entered, 1000);
}

/* For whichever reason it is turned away. */
static void knock_without_pause(uint32_t port, int enter)
{
    uint64_t begun = now_usec();

    w.came = 0;
    w.from.port = port;
    w.enter = enter;
    while (now_usec() < begun + USEC_PER_SEC) {
        while (knock())
            ;
        (void)sd_event_run(w.event, 10 * USEC_PER_MSEC);
    }
    /* 128 at once and 500 a second. */
    assert_in_range(w.came, 16, 128 + 500 * (now_usec() - begun) / USEC_PER_SEC + 1);
}

static void test_refusals_are_bounded(void **state)
{
    knock_without_pause(VSOCK_PRIVILEGED_MAX + 1, 0);
    knock_without_pause(VSOCK_PRIVILEGED_MAX, -ENOENT);
    knock_without_pause(VSOCK_PRIVILEGED_MAX, -EBUSY);
    /* Who may come in comes in beside them: they have left the queue by now or are leaving it. */
    w.from.port = VSOCK_PRIVILEGED_MAX;
    w.enter = 0;
    for (unsigned i = 0; i < 200 && w.entered == 0; i++)
        (void)sd_event_run(w.event, 10 * USEC_PER_MSEC);
    assert_true(w.entered > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_who_is_let_in, open_door, close_door),
        cmocka_unit_test_setup_teardown(test_many_who_may, open_door, close_door),
        cmocka_unit_test_setup_teardown(test_refusals_are_bounded, open_door, close_door),
    };

    return cmocka_run_group_tests_name("vsock-door", tests, NULL, NULL);
}
