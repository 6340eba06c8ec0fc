/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "bytes.h"
#include "promise-store.h"

static void test_a_table_is_read_as_it_was_written(void **state)
{
    g_autoptr(GHashTable) promised = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_autoptr(GHashTable) read = NULL;
    g_autofree char *text = NULL;
    uint64_t values[] = { 0, GIB(5), UINT64_MAX };
    static const char *const names[] = { "none", "some \"of\" \xc3\xa4", "all" };

    for (size_t i = 0; i < G_N_ELEMENTS(values); i++)
        g_hash_table_insert(promised, g_strdup(names[i]), g_memdup2(&values[i], sizeof(values[i])));
    text = promise_store_format(promised);
    for (const char *c = text; *c; c++)
        assert_in_range(*c, 0x20, 0x7e);
    assert_int_equal(promise_store_parse(text, strlen(text), &read), 0);
    assert_int_equal(g_hash_table_size(read), 3);
    assert_int_equal(*(uint64_t *)g_hash_table_lookup(read, names[1]), GIB(5));
    assert_int_equal(*(uint64_t *)g_hash_table_lookup(read, "all"), INT64_MAX);
}

static void test_a_text_that_is_no_record_is_refused_whole(void **state)
{
    static const char *const bad[] = { "", "{", "[]", "null", "{\"version\":1}",
        "{\"version\":1,\"promised\":[]}", "{\"version\":2,\"promised\":{}}",
        "{\"version\":1,\"promised\":{\"a\":-1}}", "{\"version\":1,\"promised\":{\"a\":1,\"a\":2}}",
        "{\"version\":1,\"promised\":{\"a\":99999999999999999999}}", "{\"version\":1,\"promised\":{}} x" };
    GHashTable *untouched = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        assert_int_equal(promise_store_parse(bad[i], strlen(bad[i]), &untouched), -EBADMSG);
        assert_null(untouched);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_table_is_read_as_it_was_written),
        cmocka_unit_test(test_a_text_that_is_no_record_is_refused_whole),
    };

    return cmocka_run_group_tests_name("promise-store", tests, NULL, NULL);
}
