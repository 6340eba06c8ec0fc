/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "metrics-pace.h"

#define NOW (100 * USEC_PER_SEC)

/* Whatever it does, it has a thirteenth of the time at most: with the loop's own work for it that is less
 * than a tenth. */
static void test_rest(void **state)
{
    static const uint64_t rows[] = { 0, 1, 20, 100, 1000, 2000, 11500, 80000 };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        uint64_t rest = metrics_rest(rows[i]);

        assert_true(rest >= 12 * rows[i]);
        assert_true(rest >= USEC_PER_MSEC && rest <= USEC_PER_SEC);
    }
    /* A turn that was held up by something else does not end it. */
    assert_int_equal(metrics_rest(UINT64_MAX), USEC_PER_SEC);
}

/* All taken a second ago, and whole requests. */
static void fill(struct metrics_place places[static METRICS_PLACES])
{
    for (unsigned i = 0; i < METRICS_PLACES; i++)
        places[i] = (struct metrics_place){ .taken = true, .asked = true, .begun = NOW - USEC_PER_SEC };
}

static void test_choose(void **state)
{
    struct metrics_place places[METRICS_PLACES] = { 0 };

    assert_int_equal(metrics_place_choose(places, NOW), 0);
    fill(places);
    assert_int_equal(metrics_place_choose(places, NOW), -EBUSY);
    places[7].taken = false;
    assert_int_equal(metrics_place_choose(places, NOW), 7);
    /* Whoever has not asked leaves, the oldest of them, though others were there before. */
    fill(places);
    places[9].asked = places[5].asked = places[12].asked = false;
    places[5].begun = NOW - 10;
    places[9].begun = NOW - 5;
    places[12].begun = NOW - 20;
    assert_int_equal(metrics_place_choose(places, NOW), 12);
    /* Who has been answered for long does not read. */
    fill(places);
    places[3].begun = NOW - METRICS_KEEP_USEC;
    places[4].begun = NOW - METRICS_KEEP_USEC - 1;
    assert_int_equal(metrics_place_choose(places, NOW), 4);
    fill(places);
    places[3].begun = NOW - METRICS_KEEP_USEC + 1;
    assert_int_equal(metrics_place_choose(places, NOW), -EBUSY);
    assert_int_equal(metrics_place_choose(places, NOW + 1), 3);
}

static void test_time(void **state)
{
    struct metrics_place places[METRICS_PLACES] = { 0 };
    struct metrics_place *p = &places[METRICS_PLACES - 1];

    assert_int_equal(metrics_place_deadline(places), USEC_FOREVER);
    assert_false(metrics_place_is_over(p, 1000, UINT64_MAX));
    *p = (struct metrics_place){ .taken = true, .begun = NOW };
    places[0] = (struct metrics_place){ .taken = true, .begun = NOW + 5 };
    assert_int_equal(metrics_place_deadline(places), NOW + METRICS_REQUEST_USEC);
    assert_false(metrics_place_is_over(p, 1000, NOW + METRICS_REQUEST_USEC - 1));
    assert_true(metrics_place_is_over(p, 1000, NOW + METRICS_REQUEST_USEC));
    p->asked = true;
    assert_true(metrics_place_is_over(p, 1000, NOW + METRICS_REQUEST_USEC));
    /* Nobody is woken for one who is cut already. */
    p->cut = true;
    assert_int_equal(metrics_place_deadline(places), NOW + 5 + METRICS_REQUEST_USEC);
}

/* Of the texts that are there each is as long as there are VMs: those who do not read hold no more than so
 * many. */
static void test_texts(void **state)
{
    for (uint64_t sent = 1; sent <= 10; sent++) {
        unsigned held = 0;

        for (uint64_t text = 1; text <= sent; text++) {
            struct metrics_place p = { .taken = true, .asked = true, .text = text, .begun = NOW };

            held += !metrics_place_is_over(&p, sent, NOW);
        }
        assert_int_equal(held, MIN_OF(sent, METRICS_TEXTS));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rest),
        cmocka_unit_test(test_choose),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
