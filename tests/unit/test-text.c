/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <glib.h>

#include "text.h"

static void test_what_moves_the_cursor_is_not_printable(void **state)
{
    static const char *const bad[] = { "\x1b]0;x\x07", "\n", "\t", "\x7f",
        "\xc2\x9b"
        "2J" /* CSI */,
        "\xe2\x80\xae" /* RLO */, "\xe2\x80\xa8" /* line separator */, "\xe2\x80\xa9", "\xe2\x81\xa6",
        "\xef\xbb\xbf", "\xc2\xad" };
    static const char *const good[] = { "", "plain", "\xc3\xa4 \xe2\x80\xa6 \xe2\x82\xac",
        "\xe4\xb8\xad\xe6\x96\x87" };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        assert_false(text_is_printable(bad[i]));
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
        assert_true(text_is_printable(good[i]));
}

static void test_a_mask_keeps_what_is_printable(void **state)
{
    static const struct {
        const char *text, *masked;
    } rows[] = {
        { "plain \xc3\xa4", "plain \xc3\xa4" },
        { "\x1b[2J", "?[2J" },
        { "a\xc2\x9b"
          "2Jb",
                "a??2Jb" },
        { "half \xe2\x82", "half ??" },
        { "\xff\xfe", "??" },
        { "\xe2\x80\xae"
          "abc",
                "???abc" },
        { "\xed\xa0\x80", "???" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = g_strdup(rows[i].text);

        text_mask(text);
        assert_string_equal(text, rows[i].masked);
    }
}

static void test_any_bytes_are_printable_after_the_mask(void **state)
{
    g_autoptr(GRand) dice = g_rand_new_with_seed(7);

    for (unsigned n = 0; n < 20000; n++) {
        char text[64] = "";
        size_t len = (size_t)g_rand_int_range(dice, 0, sizeof(text));

        for (size_t i = 0; i < len; i++)
            text[i] = (char)g_rand_int_range(dice, 1, 256);
        len = strlen(text);
        text_mask(text);
        assert_int_equal(strlen(text), len);
        assert_true(g_utf8_validate(text, -1, NULL));
        assert_true(text_is_printable(text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_moves_the_cursor_is_not_printable),
        cmocka_unit_test(test_a_mask_keeps_what_is_printable),
        cmocka_unit_test(test_any_bytes_are_printable_after_the_mask),
    };

    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
