/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <glib.h>

#include "reservations.h"
#include "saved-limits.h"

static int add(struct reservations *r, uid_t uid, uint64_t bytes, size_t *ret_slot)
{
    struct reservation wanted = {
        .bytes = bytes, .uid = uid, .since = 1, .who = "test", .why = "why = [not]"
    };
    char text[RESERVATIONS_TEXT_MAX];

    return reservations_add(r, &wanted, GIB(8), ret_slot, text);
}

static void test_quotas(void **state)
{
    struct reservations r = { 0 };
    size_t slot;

    assert_int_equal(add(&r, 1, GIB(4) + 1, &slot), -EDQUOT);
    assert_int_equal(add(&r, 1, UINT64_MAX, &slot), -EDQUOT);
    assert_int_equal(add(&r, 1, GIB(4), &slot), 0);
    assert_int_equal(add(&r, 1, 1, &slot), -EDQUOT);
    assert_int_equal(add(&r, 2, GIB(1), &slot), 0);
    for (unsigned i = 1; i < RESERVATIONS_EACH_MAX; i++)
        assert_int_equal(add(&r, 2, 1, &slot), 0);
    assert_int_equal(add(&r, 2, 1, &slot), -EDQUOT);
    for (uid_t uid = 3; reservations_bytes(&r) > 0 && add(&r, uid, 1, &slot) == 0; uid++)
        assert_true(uid < 1000);
    assert_int_equal(slot, RESERVATIONS_MAX - 1);
    reservations_drop(&r, 7);
    assert_int_equal(add(&r, 1000, 1, &slot), 0);
    assert_int_equal(slot, 7);
}

static void test_floor(void **state)
{
    struct reservations r = { 0 };
    size_t first, second;

    assert_int_equal(reservations_floor(&r), 0);
    /* 300 MiB are lacking on top of 1 GiB that is there. */
    assert_int_equal(
            reservations_needed(&r, MIB(500), 0, GIB(1), GIB(1), MIB(456), MIB(256)), GIB(1) + MIB(300));
    /* What is on its way counts. */
    assert_int_equal(reservations_needed(&r, MIB(500), 0, GIB(1), GIB(1) + MIB(100), MIB(456), MIB(256)),
            GIB(1) + MIB(300));
    /* There is more than enough: the size may fall by the rest. */
    assert_int_equal(reservations_needed(&r, MIB(500), 0, GIB(1), GIB(1), GIB(1), MIB(256)), MIB(756));
    assert_int_equal(reservations_needed(&r, MIB(500), 0, GIB(1), GIB(1), GIB(8), MIB(256)), 0);
    assert_int_equal(add(&r, 1, MIB(500), &first), 0);
    r.table[first].base = reservations_base(&r, GIB(1) + MIB(300));
    assert_int_equal(reservations_floor(&r), GIB(1) + MIB(300));
    /* The second one does not get the first one's bytes, though they are available. */
    assert_int_equal(
            reservations_needed(&r, MIB(200), 0, GIB(1) + MIB(300), GIB(1) + MIB(300), MIB(756), MIB(256)),
            GIB(1) + MIB(500));
    assert_int_equal(add(&r, 1, MIB(200), &second), 0);
    r.table[second].base = reservations_base(&r, GIB(1) + MIB(500));
    assert_int_equal(reservations_floor(&r), GIB(1) + MIB(500));
    reservations_drop(&r, first);
    assert_int_equal(reservations_floor(&r), GIB(1));
    /* A small one does not keep what a large one needed. */
    assert_int_equal(add(&r, 2, MIB(1), &first), 0);
    r.table[second].base = GIB(3);
    reservations_drop(&r, second);
    assert_int_equal(reservations_floor(&r), MIB(1));
    assert_int_equal(add(&r, 1, MIB(200), &second), 0);
    reservations_drop(&r, first);
    /* Two at once: what the first one waits for is not there for the second. */
    assert_int_equal(reservations_needed(&r, MIB(512), MIB(512), GIB(1), GIB(1), MIB(256), MIB(256)), GIB(2));
    reservations_drop(&r, second);
    assert_int_equal(reservations_floor(&r), 0);
}

/* A small reservation, made while much memory is in use, must not pin that memory after it is freed. */
static void test_base_falls_with_what_is_in_use(void **state)
{
    struct reservations r = { .used = UINT64_MAX };
    size_t slot, late;

    assert_false(reservations_have_base(&r));
    assert_int_equal(add(&r, 1, 1, &slot), 0);
    r.table[slot].base = GIB(3);
    assert_true(reservations_have_base(&r));
    /* The first measurement alone lowers nothing, nor does a dip between two measurements. */
    assert_false(reservations_lower(&r, MIB(128), GIB(3), GIB(3), GIB(3), MIB(256)));
    assert_false(reservations_lower(&r, MIB(128), GIB(3), GIB(3), MIB(256), MIB(256)));
    assert_int_equal(reservations_floor(&r), GIB(3) + 1);
    /* Two measurements lower the base to the larger of them. */
    assert_false(reservations_lower(&r, MIB(128), GIB(3), GIB(3), GIB(1) + MIB(256), MIB(256)));
    assert_true(reservations_lower(&r, MIB(128), GIB(3), GIB(3), GIB(2), MIB(256)));
    assert_int_equal(reservations_floor(&r), GIB(2) + 1);
    assert_true(reservations_lower(&r, MIB(128), GIB(3), GIB(3), GIB(2), MIB(256)));
    assert_int_equal(reservations_floor(&r), GIB(1) + MIB(256) + 1);
    /* A fall of less than a memory block is deferred, and the base does not rise with what the holder uses.
     */
    assert_false(reservations_lower(&r, MIB(128), GIB(3), GIB(3), GIB(2) + MIB(100), MIB(256)));
    assert_false(reservations_lower(&r, MIB(128), GIB(3), GIB(3), GIB(2) + MIB(100), MIB(256)));
    assert_false(reservations_lower(&r, MIB(128), GIB(3), GIB(3), MIB(256), MIB(256)));
    assert_int_equal(reservations_floor(&r), GIB(1) + MIB(256) + 1);
    /* Each reservation has a base of its own. */
    assert_int_equal(add(&r, 2, MIB(500), &late), 0);
    r.table[late].base = GIB(2);
    assert_false(reservations_lower(&r, MIB(128), GIB(3), GIB(3), MIB(900), MIB(256)));
    reservations_drop(&r, slot);
    assert_int_equal(reservations_floor(&r), GIB(2) + MIB(500));
    /* Memory that is being plugged is not in use, and an impossible size overflows nothing. */
    (void)reservations_lower(&r, MIB(128), GIB(1), GIB(3), GIB(8), MIB(256));
    assert_true(reservations_lower(&r, MIB(128), GIB(1), GIB(3), GIB(8), MIB(256)));
    assert_int_equal(reservations_floor(&r), MIB(500));
    assert_false(reservations_have_base(&r));
    reservations_drop(&r, late);
    assert_int_equal(reservations_floor(&r), 0);
}

/* By what they say: what stands between the fields is anything. */
static void assert_same(const struct reservations *a, const struct reservations *b)
{
    assert_int_equal(a->last_id, b->last_id);
    for (size_t i = 0; i < RESERVATIONS_MAX; i++) {
        const struct reservation *x = &a->table[i], *y = &b->table[i];

        assert_int_equal(x->id, y->id);
        assert_int_equal(x->bytes, y->bytes);
        assert_int_equal(x->base, y->base);
        assert_int_equal(x->since, y->since);
        assert_int_equal(x->uid, y->uid);
        assert_string_equal(x->who, y->who);
        assert_string_equal(x->why, y->why);
    }
}

static void test_saved_and_back(void **state)
{
    static const char *const bad[] = {
        "",
        "nonsense",
        "[Reservations]\n",
        "[Reservations]\nLastId=1\n[1]\nBytes=1\nSince=1\nUid=0\nWho=x\nWhy=y\n",
        "[Reservations]\nLastId=1\n[2]\nBase=0\nBytes=1\nSince=1\nUid=0\nWho=x\nWhy=y\n",
        "[Reservations]\nLastId=1\n[1]\nBase=0\nBytes=0\nSince=1\nUid=0\nWho=x\nWhy=y\n",
        "[Reservations]\nLastId=1\n[1]\nBase=0\nBytes=18446744073709551615\nSince=1\nUid=0\nWho=x\nWhy=y\n",
        "[Reservations]\nLastId=1\n[1]\nBase=0\nBytes=1\nSince=1\nUid=4294967296\nWho=x\nWhy=y\n",
        "[Reservations]\nLastId=1\n[1]\nBase=0\nBytes=1\nSince=1\nUid=0\nWhy=y\n",
        "[Reservations]\nLastId=1\n[x]\nBase=0\nBytes=1\nSince=1\nUid=0\nWho=x\nWhy=y\n",
    };
    struct reservations r = { 0 }, read = { 0 };
    g_autofree char *text = NULL;
    size_t slot;

    assert_int_equal(add(&r, 1, MIB(500), &slot), 0);
    assert_int_equal(add(&r, 2, MIB(1), &slot), 0);
    r.table[slot].base = reservations_base(&r, GIB(2));
    text = reservations_format(&r);
    assert_int_equal(reservations_parse(&read, text), 0);
    assert_same(&read, &r);
    for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
        assert_int_equal(reservations_parse(&read, bad[i]), -EBADMSG);
        assert_same(&read, &r);
    }
}

static void test_saved_limits(void **state)
{
    char folder[] = "/tmp/vmtide-test-XXXXXX";
    g_autofree char *error = NULL, *path = NULL;
    uint64_t min = 7, max = 7;

    assert_non_null(g_mkdtemp(folder));
    path = g_build_filename(folder, "state", "limits", NULL);
    assert_int_equal(saved_limits_read(path, &min, &max), -ENOENT);
    assert_int_equal(saved_limits_write(path, MIB(1), UINT64_MAX, &error), 0);
    assert_int_equal(saved_limits_read(path, &min, &max), 0);
    assert_true(min == MIB(1) && max == UINT64_MAX);
    assert_true(g_file_set_contents(path, "[Limits]\nMinSize=2\nMaxSize=1\n", -1, NULL));
    assert_int_equal(saved_limits_read(path, &min, &max), -EBADMSG);
    assert_true(g_file_set_contents(path, "[Limits]\nMinSize=2\n", -1, NULL));
    assert_int_equal(saved_limits_read(path, &min, &max), -EBADMSG);
    assert_true(min == MIB(1) && max == UINT64_MAX);
    assert_int_equal(saved_limits_write("/proc/nowhere/limits", 0, 0, &error), -EIO);
    assert_non_null(error);
    assert_int_equal(unlink(path), 0);
    path[strlen(path) - strlen("/limits")] = '\0';
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quotas),
        cmocka_unit_test(test_floor),
        cmocka_unit_test(test_base_falls_with_what_is_in_use),
        cmocka_unit_test(test_saved_and_back),
        cmocka_unit_test(test_saved_limits),
    };

    return cmocka_run_group_tests_name("reservations", tests, NULL, NULL);
}
