/* SPDX-License-Identifier: MIT */
/* What is bounded: triggers of a caller and of its user, and what the host says over and over. */
#include "unit.h"

#include "callers.h"
#include "news.h"

#define MINUTE CALLERS_RATE_USEC

/* Each a minute after the other: the user's rate is no matter. */
static int take(struct callers *c, const char *name)
{
    static uint64_t now;

    return callers_take(c, name, 0, now += MINUTE);
}

static void test_callers(void **state)
{
    struct callers c = { 0 };
    char name[CALLERS_NAME_MAX + 1];

    for (unsigned i = 0; i < CALLERS_TRIGGERS_MAX; i++)
        assert_int_equal(take(&c, ":1.1"), 0);
    assert_int_equal(take(&c, ":1.1"), -EDQUOT);
    callers_give_back(&c, ":1.1", 0);
    assert_int_equal(take(&c, ":1.1"), 0);
    assert_int_equal(take(&c, ":1.1"), -EDQUOT);
    assert_int_equal(take(&c, ":1.11"), 0);
    callers_forget(&c, ":1.1");
    assert_int_equal(take(&c, ":1.1"), 0);

    memset(name, 'x', CALLERS_NAME_MAX);
    name[CALLERS_NAME_MAX] = '\0';
    assert_int_equal(take(&c, name), -EDQUOT);
    assert_int_equal(take(&c, ""), -EDQUOT);
    /* Of somebody that has none. */
    callers_give_back(&c, ":1.99", 0);
    callers_forget(&c, ":1.99");
}

static void test_callers_are_bounded(void **state)
{
    struct callers c = { 0 };
    char name[CALLERS_NAME_MAX];

    for (unsigned i = 0; i < CALLERS_MAX; i++) {
        (void)snprintf(name, sizeof(name), "%s%u", i % 2 ? ":1." : "private ", i);
        assert_int_equal(take(&c, name), 0);
    }
    assert_int_equal(take(&c, ":1.100"), -EDQUOT);
    assert_int_equal(take(&c, ":1.1"), 0);
    /* One whose only trigger came to nothing leaves its place. */
    callers_give_back(&c, "private 2", 0);
    assert_int_equal(take(&c, ":1.100"), 0);
    /* The bus is lost: the private connections stay. */
    callers_forget_prefix(&c, ":");
    for (unsigned i = 0; i < CALLERS_TRIGGERS_MAX - 1; i++)
        assert_int_equal(take(&c, "private 0"), 0);
    assert_int_equal(take(&c, "private 0"), -EDQUOT);
    for (unsigned i = 0; i < 9; i++) {
        (void)snprintf(name, sizeof(name), ":2.%u", i);
        assert_int_equal(take(&c, name), 0);
    }
    assert_int_equal(take(&c, ":2.9"), -EDQUOT);
}

/* Coming again by another name helps nobody. */
static void test_users_have_a_rate(void **state)
{
    struct callers c = { 0 };
    char name[CALLERS_NAME_MAX];

    for (unsigned i = 0; i < CALLERS_RATE; i++) {
        (void)snprintf(name, sizeof(name), "private %u", i / CALLERS_TRIGGERS_MAX);
        assert_int_equal(callers_take(&c, name, 7, i), 0);
        if ((i + 1) % CALLERS_TRIGGERS_MAX == 0)
            callers_forget(&c, name);
    }
    assert_int_equal(callers_take(&c, "private 99", 7, MINUTE - 1), -EBUSY);
    /* Others have their own, and one that came to nothing does not count. */
    assert_int_equal(callers_take(&c, "private 98", 8, MINUTE - 1), 0);
    assert_int_equal(callers_take(&c, "private 97", 7, MINUTE), 0);
    for (unsigned i = 1; i < CALLERS_RATE + 9; i++) {
        assert_int_equal(callers_take(&c, "private 97", 7, MINUTE + i), 0);
        callers_give_back(&c, "private 97", 7);
    }
}

static void test_users_are_bounded(void **state)
{
    struct callers c = { 0 };

    for (unsigned i = 0; i < CALLERS_USERS_MAX; i++) {
        assert_int_equal(callers_take(&c, "private 1", 100 + i, i), 0);
        callers_forget(&c, "private 1");
    }
    assert_int_equal(callers_take(&c, "private 1", 99, MINUTE - 1), -EBUSY);
    assert_int_equal(callers_take(&c, "private 1", 100, MINUTE - 1), 0);
    /* The first one's minute is over. */
    assert_int_equal(callers_take(&c, "private 1", 99, MINUTE), 0);
}

static void test_news(void **state)
{
    struct news n = { 0 };
    uint64_t now = 5 * NEWS_USEC;
    uint32_t more = 77;

    assert_true(news_deadline(&n) == USEC_FOREVER);
    assert_true(news_take(&n, now));
    assert_false(news_due(&n, now + NEWS_USEC, &more));
    for (unsigned i = 0; i < 5; i++)
        assert_false(news_take(&n, now + i));
    assert_true(news_deadline(&n) == now + NEWS_USEC);
    assert_false(news_due(&n, now + NEWS_USEC - 1, &more));
    assert_int_equal(more, 77);
    assert_true(news_due(&n, now + NEWS_USEC, &more));
    assert_int_equal(more, 4);
    assert_true(news_deadline(&n) == USEC_FOREVER);
    /* Again a second later at the earliest; what waits keeps its turn. */
    now += NEWS_USEC;
    assert_false(news_take(&n, now + NEWS_USEC - 1));
    assert_false(news_take(&n, now + NEWS_USEC));
    assert_true(news_due(&n, now + NEWS_USEC, &more));
    assert_int_equal(more, 1);
    assert_false(news_take(&n, now + NEWS_USEC));
    news_drop(&n);
    assert_false(news_due(&n, now + 9 * NEWS_USEC, &more));
    assert_true(news_take(&n, now + 9 * NEWS_USEC));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_callers),
        cmocka_unit_test(test_callers_are_bounded),
        cmocka_unit_test(test_users_have_a_rate),
        cmocka_unit_test(test_users_are_bounded),
        cmocka_unit_test(test_news),
    };

    return cmocka_run_group_tests_name("callers", tests, NULL, NULL);
}
