/* SPDX-License-Identifier: MIT */
/* The host's end of the channel to a guest that is cut off, over real sockets. */
#include "unit.h"

#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/socket.h>

#include "guest-link.h"
#include "service.h"
#include "unix-socket.h"

#define BAD_LINES (CHANNEL_BAD_LINES_MAX + 1)
#define SENDS_MAX 100000u

struct world {
    sd_event *event;
    struct guest_link *link;
    char folder[32];
    char *path;
    int listening, guest;
    unsigned ups, downs, messages, noises;
};

static void on_up(struct guest_link *l, void *userdata)
{
    ((struct world *)userdata)->ups++;
}

static void on_down(struct guest_link *l, void *userdata)
{
    ((struct world *)userdata)->downs++;
}

static void on_message(struct guest_link *l, const struct channel_message *m, void *userdata)
{
    ((struct world *)userdata)->messages++;
}

static void on_noise(struct guest_link *l, void *userdata)
{
    ((struct world *)userdata)->noises++;
}

static const struct guest_link_ops ops = { on_up, on_down, on_message, on_noise };

static int open_world(void **state)
{
    struct world *w = g_new0(struct world, 1);
    struct sockaddr_un address;

    g_strlcpy(w->folder, "/tmp/vmtide-link-XXXXXX", sizeof(w->folder));
    assert_non_null(g_mkdtemp(w->folder));
    w->path = g_build_filename(w->folder, "channel", NULL);
    w->guest = -EBADF;
    w->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(unix_address(w->path, &address), 0);
    assert_int_equal(bind(w->listening, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(w->listening, 1), 0);
    assert_int_equal(sd_event_new(&w->event), 0);
    *state = w;
    return 0;
}

static int close_world(void **state)
{
    struct world *w = *state;

    guest_link_free(w->link);
    sd_event_unref(w->event);
    closep(&w->guest);
    closep(&w->listening);
    (void)g_remove(w->path);
    (void)g_remove(w->folder);
    g_free(w->path);
    g_free(w);
    return 0;
}

static void run(struct world *w, uint64_t usec)
{
    uint64_t end = now_usec() + usec, now;

    while ((now = now_usec()) < end)
        (void)sd_event_run(w->event, end - now);
}

static void run_until(struct world *w, const unsigned *count, unsigned at_least)
{
    for (unsigned i = 0; i < 100 && *count < at_least; i++)
        run(w, 50 * USEC_PER_MSEC);
    assert_true(*count >= at_least);
}

static void say(const struct world *w, const char *line, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        assert_int_equal(write(w->guest, line, strlen(line)), strlen(line));
}

/* The guest as it came in. */
static void meet_dialled(struct world *w, unsigned times)
{
    run_until(w, &w->ups, times);
    closep(&w->guest);
    w->guest = accept4(w->listening, NULL, NULL, SOCK_CLOEXEC);
    assert_true(w->guest >= 0);
}

static int come(struct world *w)
{
    int fds[2], r;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    r = guest_link_accept(w->link, fds[0]);
    if (r < 0) {
        close(fds[0]);
        close(fds[1]);
        return r;
    }
    closep(&w->guest);
    w->guest = fds[1];
    return 0;
}

/* Cut off for bad lines, and then left since it does not read. */
static void cut_and_leave(struct world *w)
{
    static const struct channel_message size = { .op = CHANNEL_SIZE, .size = 1, .requested_size = 1 };

    say(w, "{\"op\":\"ping\",\"id\":1}\n", 1);
    run_until(w, &w->messages, 1);
    say(w, "nonsense\n", BAD_LINES);
    run_until(w, &w->noises, CHANNEL_BAD_LINES_MAX);
    run(w, 50 * USEC_PER_MSEC);
    for (unsigned i = 0; i < SENDS_MAX && w->downs == 0; i++)
        guest_link_send(w->link, &size);
    assert_int_equal(w->downs, 1);
}

static void test_a_dialled_guest_stays_cut_off(void **state)
{
    struct world *w = *state;

    assert_int_equal(guest_link_new(w->event, "test", w->path, &ops, w, &w->link), 0);
    meet_dialled(w, 1);
    cut_and_leave(w);
    meet_dialled(w, 2);
    say(w, "\n{\"op\":\"ping\",\"id\":2}\n", 2);
    run(w, 500 * USEC_PER_MSEC);
    assert_int_equal(w->messages, 1);
    assert_int_equal(w->noises, CHANNEL_BAD_LINES_MAX);
}

static void test_one_that_comes_stays_cut_off(void **state)
{
    struct world *w = *state;

    assert_int_equal(guest_link_new(w->event, "test", NULL, &ops, w, &w->link), 0);
    assert_int_equal(come(w), 0);
    cut_and_leave(w);
    assert_int_equal(come(w), -EBUSY);
    assert_int_equal(w->ups, 1);
}

/* It is heard again when its time is over, and what it says then counts from the beginning. */
static void test_the_cut_ends(void **state)
{
    struct world *w = *state;

    assert_int_equal(guest_link_new(w->event, "test", w->path, &ops, w, &w->link), 0);
    meet_dialled(w, 1);
    cut_and_leave(w);
    meet_dialled(w, 2);
    run(w, CHANNEL_BAD_LINES_WINDOW_USEC);
    say(w, "\n{\"op\":\"ping\",\"id\":2}\n", 1);
    run_until(w, &w->messages, 2);
    say(w, "nonsense\n", 1);
    run_until(w, &w->noises, CHANNEL_BAD_LINES_MAX + 1);
}

/* Returns true when the host stops reading, so that the guest's socket fills. */
static bool fills(struct world *w, const char *text, size_t most)
{
    size_t sent = 0, len = strlen(text);

    assert_int_equal(fcntl(w->guest, F_SETFL, O_NONBLOCK), 0);
    for (unsigned idle = 0; sent < most && idle < 20;) {
        ssize_t n = write(w->guest, text, len);

        sent += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        run(w, n > 0 ? 0 : 10 * USEC_PER_MSEC);
    }
    return sent < most;
}

static void test_empty_lines_and_endless_lines_cut_a_guest_off(void **state)
{
    struct world *w = *state;
    char newlines[4096], letters[4096];

    memset(newlines, '\n', sizeof(newlines) - 1);
    memset(letters, 'x', sizeof(letters) - 1);
    newlines[sizeof(newlines) - 1] = letters[sizeof(letters) - 1] = 0;
    assert_int_equal(guest_link_new(w->event, "test", NULL, &ops, w, &w->link), 0);
    assert_int_equal(come(w), 0);
    assert_true(fills(w, newlines, 16UL * 1024 * 1024));
    assert_int_equal(come(w), -EBUSY);
    w->link = guest_link_free(w->link);
    assert_int_equal(guest_link_new(w->event, "test", NULL, &ops, w, &w->link), 0);
    assert_int_equal(come(w), 0);
    assert_true(fills(w, letters, 16UL * 1024 * 1024));
    assert_int_equal(come(w), -EBUSY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_dialled_guest_stays_cut_off, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_one_that_comes_stays_cut_off, open_world, close_world),
        cmocka_unit_test_setup_teardown(
                test_empty_lines_and_endless_lines_cut_a_guest_off, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_the_cut_ends, open_world, close_world),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("guest-link", tests, NULL, NULL);
}
