/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "link-state.h"

#define T0 (1000 * USEC_PER_SEC)

static enum link_act say(struct link_state *s, enum channel_op op, uint64_t now)
{
    struct channel_message m = { .op = op, .version = CHANNEL_VERSION };

    return link_state_message(s, &m, now);
}

static struct link_state up(void)
{
    struct link_state s = { 0 };

    link_state_opened(&s, T0);
    assert_int_equal(say(&s, CHANNEL_WELCOME, T0), LINK_WELCOMED);
    assert_int_equal(s.phase, LINK_UP);
    return s;
}

/* What every op of a host, or of a guest, means in each phase. */
static void test_ops(void **state)
{
    static const struct {
        enum channel_op op;
        enum link_act greeting;
        enum link_act up;
        enum link_phase up_after;
    } rows[] = {
        { CHANNEL_WHO, LINK_SAY_HELLO, LINK_SAY_HELLO, LINK_GREETING },
        { CHANNEL_HELLO, LINK_BAD, LINK_BAD, LINK_UP },
        { CHANNEL_WELCOME, LINK_WELCOMED, LINK_WELCOMED, LINK_UP },
        { CHANNEL_RESIZE, LINK_BAD, LINK_BAD, LINK_UP },
        { CHANNEL_GRANTED, LINK_NOTHING, LINK_PASS_ON, LINK_UP },
        { CHANNEL_REFUSED, LINK_NOTHING, LINK_PASS_ON, LINK_UP },
        { CHANNEL_SIZE, LINK_NOTHING, LINK_PASS_ON, LINK_UP },
        { CHANNEL_LIMITS, LINK_NOTHING, LINK_PASS_ON, LINK_UP },
        { CHANNEL_SHRINK, LINK_NOTHING, LINK_PASS_ON, LINK_UP },
        { CHANNEL_DECLINED, LINK_BAD, LINK_BAD, LINK_UP },
        { CHANNEL_STATS, LINK_BAD, LINK_BAD, LINK_UP },
        { CHANNEL_ROOM, LINK_NOTHING, LINK_PASS_ON, LINK_UP },
        { CHANNEL_PING, LINK_SAY_PONG, LINK_SAY_PONG, LINK_UP },
        { CHANNEL_PONG, LINK_NOTHING, LINK_NOTHING, LINK_UP },
        { CHANNEL_ERROR, LINK_COMPLAINT, LINK_COMPLAINT, LINK_UP },
    };

    assert_int_equal(ELEMENTSOF(rows), _CHANNEL_OP_MAX);
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct link_state s = { 0 };

        assert_int_equal(rows[i].op, i);
        link_state_opened(&s, T0);
        assert_int_equal(say(&s, rows[i].op, T0), rows[i].greeting);
        s = up();
        assert_int_equal(say(&s, rows[i].op, T0), rows[i].up);
        assert_int_equal(s.phase, rows[i].up_after);
    }
}

static void test_other_version(void **state)
{
    struct channel_message m = { .op = CHANNEL_WELCOME, .version = CHANNEL_VERSION + 1 };
    struct link_state s = { 0 };

    link_state_opened(&s, T0);
    assert_int_equal(link_state_message(&s, &m, T0), LINK_BAD);
    assert_int_equal(s.phase, LINK_GREETING);
}

static void test_looks_again_and_greets(void **state)
{
    struct link_state s = { 0 };

    /* The first look is at once. */
    assert_int_equal(link_state_timer(&s, T0), LINK_OPEN);
    link_state_closed(&s, T0);
    assert_int_equal(s.deadline, T0 + LINK_REOPEN_USEC);
    assert_int_equal(link_state_timer(&s, T0 + LINK_REOPEN_USEC - 1), LINK_NOTHING);
    assert_int_equal(link_state_timer(&s, T0 + LINK_REOPEN_USEC), LINK_OPEN);
    link_state_opened(&s, T0);
    /* A hello that nobody answers is said again, for ever, at a pace. */
    for (unsigned i = 1; i <= 5; i++) {
        assert_int_equal(link_state_timer(&s, T0 + i * LINK_HELLO_USEC - 1), LINK_NOTHING);
        assert_int_equal(link_state_timer(&s, T0 + i * LINK_HELLO_USEC), LINK_SAY_HELLO);
    }
}

/* A host's kernel that does not answer is left after a time, and looked for again. */
static void test_connecting_is_bounded(void **state)
{
    struct link_state s = { 0 };

    link_state_connecting(&s, T0);
    assert_int_equal(link_state_timer(&s, T0 + LINK_CONNECT_USEC - 1), LINK_NOTHING);
    assert_int_equal(link_state_timer(&s, T0 + LINK_CONNECT_USEC), LINK_GIVE_UP);
    link_state_closed(&s, T0 + LINK_CONNECT_USEC);
    assert_int_equal(link_state_timer(&s, T0 + LINK_CONNECT_USEC + LINK_REOPEN_USEC), LINK_OPEN);
    link_state_connecting(&s, T0);
    link_state_opened(&s, T0 + 1);
    assert_int_equal(s.phase, LINK_GREETING);
    assert_int_equal(s.deadline, T0 + 1 + LINK_HELLO_USEC);
}

static void test_keepalive(void **state)
{
    struct link_state s = up();
    uint64_t now = T0 + LINK_KEEPALIVE_USEC;

    assert_int_equal(link_state_timer(&s, now), LINK_SAY_PING);
    assert_int_equal(s.ping_id, 1);
    assert_int_equal(s.deadline, now + LINK_PONG_USEC);
    assert_int_equal(say(&s, CHANNEL_PONG, now + 1), LINK_NOTHING);
    assert_int_equal(link_state_timer(&s, now + LINK_PONG_USEC), LINK_NOTHING);
    assert_int_equal(s.deadline, now + 1 + LINK_KEEPALIVE_USEC);
    now = s.deadline;
    assert_int_equal(link_state_timer(&s, now), LINK_SAY_PING);
    assert_int_equal(s.ping_id, 2);
    assert_int_equal(link_state_timer(&s, now + LINK_PONG_USEC - 1), LINK_NOTHING);
    assert_int_equal(link_state_timer(&s, now + LINK_PONG_USEC), LINK_HANG_UP);
}

/* A host that speaks by itself is not asked whether it is there; and a wake-up comes once in 30 s at most. */
static void test_no_ping_while_it_speaks(void **state)
{
    struct link_state s = up();
    unsigned woken = 0;

    for (uint64_t now = T0; now < T0 + 300 * USEC_PER_SEC; now += USEC_PER_SEC) {
        if ((now - T0) % (10 * USEC_PER_SEC) == 0)
            assert_int_equal(say(&s, CHANNEL_SIZE, now), LINK_PASS_ON);
        if (now < s.deadline)
            continue;
        assert_int_equal(link_state_timer(&s, now), LINK_NOTHING);
        woken++;
    }
    assert_in_range(woken, 1, 15);
}

static void test_too_many_bad_lines(void **state)
{
    struct link_state s = up();

    for (unsigned i = 0; i < CHANNEL_BAD_LINES_MAX; i++)
        assert_false(link_state_bad(&s, T0 + i));
    assert_true(link_state_bad(&s, T0 + 1000));
    assert_int_equal(s.phase, LINK_DEAF);
    /* Said once: more in the same read change nothing. */
    assert_false(link_state_bad(&s, T0 + 1001));
    assert_int_equal(link_state_timer(&s, T0 + 1000 + CHANNEL_BAD_LINES_WINDOW_USEC - 1), LINK_NOTHING);
    assert_int_equal(link_state_timer(&s, T0 + 1000 + CHANNEL_BAD_LINES_WINDOW_USEC), LINK_LISTEN);
    assert_int_equal(s.phase, LINK_GREETING);
    assert_int_equal(say(&s, CHANNEL_WELCOME, T0 + 20 * USEC_PER_SEC), LINK_WELCOMED);
}

static void test_few_bad_lines_are_forgotten(void **state)
{
    struct link_state s = up();

    for (unsigned i = 0; i < 10 * CHANNEL_BAD_LINES_MAX; i++)
        assert_false(
                link_state_bad(&s, T0 + i * (CHANNEL_BAD_LINES_WINDOW_USEC / (CHANNEL_BAD_LINES_MAX - 1))));
}

static void test_too_many_lines_or_bytes(void **state)
{
    struct link_state s = up();

    for (unsigned i = 0; i < LINK_LINES_MAX; i++)
        assert_false(link_state_line(&s, T0 + i));
    assert_true(link_state_line(&s, T0 + LINK_LINES_MAX));
    assert_int_equal(s.phase, LINK_DEAF);
    assert_false(link_state_line(&s, T0 + LINK_LINES_MAX));
    s = up();
    assert_false(link_state_received(&s, LINK_BYTES_MAX, T0));
    assert_false(link_state_received(&s, LINK_BYTES_MAX, T0 + CHANNEL_BAD_LINES_WINDOW_USEC));
    assert_true(link_state_received(&s, 1, T0 + CHANNEL_BAD_LINES_WINDOW_USEC + 1));
    assert_int_equal(s.phase, LINK_DEAF);
    assert_int_equal(link_state_timer(&s, T0 + 1 + 2 * CHANNEL_BAD_LINES_WINDOW_USEC), LINK_LISTEN);
    /* A new connection begins anew. */
    s = up();
    assert_false(link_state_received(&s, LINK_BYTES_MAX, T0));
    link_state_opened(&s, T0);
    assert_false(link_state_received(&s, LINK_BYTES_MAX, T0));
}

static void test_host_that_does_not_read(void **state)
{
    struct link_state s = up();

    link_state_broken(&s, T0);
    assert_int_equal(s.deadline, T0);
    assert_int_equal(link_state_timer(&s, T0), LINK_HANG_UP);
    link_state_closed(&s, T0);
    assert_int_equal(link_state_timer(&s, T0 + LINK_REOPEN_USEC), LINK_OPEN);
    link_state_opened(&s, T0 + LINK_REOPEN_USEC);
    assert_int_equal(link_state_timer(&s, T0 + LINK_REOPEN_USEC), LINK_NOTHING);
}

/* What was asked before the second welcome is about a past that is over. */
static void test_renewed(void **state)
{
    struct link_state s = up();

    link_state_renew(&s, T0);
    assert_int_equal(s.phase, LINK_GREETING);
    assert_int_equal(say(&s, CHANNEL_GRANTED, T0 + 1), LINK_NOTHING);
    assert_int_equal(link_state_timer(&s, T0 + LINK_HELLO_USEC), LINK_SAY_HELLO);
    assert_int_equal(say(&s, CHANNEL_WELCOME, T0 + 3 * USEC_PER_SEC), LINK_WELCOMED);
    assert_int_equal(say(&s, CHANNEL_GRANTED, T0 + 3 * USEC_PER_SEC), LINK_PASS_ON);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ops),
        cmocka_unit_test(test_other_version),
        cmocka_unit_test(test_looks_again_and_greets),
        cmocka_unit_test(test_connecting_is_bounded),
        cmocka_unit_test(test_keepalive),
        cmocka_unit_test(test_no_ping_while_it_speaks),
        cmocka_unit_test(test_too_many_bad_lines),
        cmocka_unit_test(test_too_many_lines_or_bytes),
        cmocka_unit_test(test_few_bad_lines_are_forgotten),
        cmocka_unit_test(test_host_that_does_not_read),
        cmocka_unit_test(test_renewed),
    };

    return cmocka_run_group_tests_name("link-state", tests, NULL, NULL);
}
