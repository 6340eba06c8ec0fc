/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "bytes.h"
#include "channel.h"

static struct channel_message full_message(enum channel_op op)
{
    return (struct channel_message){
        .op = op,
        .id = 7,
        .version = 1,
        .boot_size = GIB(1),
        .memory_block_size = MIB(128),
        .block_size = MIB(2),
        .size = MIB(512),
        .requested_size = MIB(514),
        .min_size = 0,
        .max_size = GIB(8),
        .available = MIB(300),
        .total = GIB(1),
        .some10 = 1234,
        .level = CHANNEL_LEVEL_CRITICAL,
        .code = CHANNEL_CODE_HOST_MEMORY,
        .agent = "vmtide 0.1 \"quoted\" ü",
        .boot_id = "11111111-2222-3333-4444-555555555555",
        .vm = "guest",
        .reason = "short",
        .text = "3G are more than 2G",
    };
}

static void test_round_trip_of_every_op(void **state)
{
    for (int op = 0; op < _CHANNEL_OP_MAX; op++) {
        struct channel_message m = full_message(op), back;
        char line[CHANNEL_LINE_MAX], again[CHANNEL_LINE_MAX];
        size_t len, again_len;

        assert_int_equal(channel_encode(&m, line, sizeof(line), &len), 0);
        assert_int_equal(line[len - 1], '\n');
        assert_int_equal(channel_decode(line, len - 1, &back), 0);
        assert_int_equal(back.op, op);
        assert_int_equal(channel_encode(&back, again, sizeof(again), &again_len), 0);
        assert_int_equal(again_len, len);
        assert_memory_equal(line, again, len);
    }
}

/* Every key is needed: take each one away in turn. */
static void test_every_key_is_required(void **state)
{
    for (int op = 0; op < _CHANNEL_OP_MAX; op++) {
        struct channel_message m = full_message(op), back;
        char line[CHANNEL_LINE_MAX];
        size_t len;

        assert_int_equal(channel_encode(&m, line, sizeof(line), &len), 0);
        line[len - 1] = '\0';
        for (char *key = strstr(line, ",\""); key; key = strstr(key + 1, ",\"")) {
            char saved = key[2];
            int r;

            key[2] = saved == '_' ? '-' : '_';
            r = channel_decode(line, len - 1, &back);
            key[2] = saved;
            /* A comma inside of a value is no key. */
            if (strstr(key, "\":"))
                assert_int_equal(r, -EBADMSG);
        }
    }
}

static void test_bad_lines(void **state)
{
    static const struct {
        const char *line;
        int result;
    } rows[] = {
        { "", -EBADMSG },
        { "garbage", -EBADMSG },
        { "[]", -EBADMSG },
        { "{\"op\":\"resize\",\"id\":1,\"size\":1,\"reason\":\"\\u001b]0;x\"}", -EBADMSG },
        { "{\"op\":\"resize\",\"id\":1,\"size\":1,\"reason\":\"\\u009b2J\"}", -EBADMSG },
        { "{\"op\":\"error\",\"text\":\"\\u202e\"}", -EBADMSG },
        { "null", -EBADMSG },
        { "{}", -EBADMSG },
        { "{\"op\":1}", -EBADMSG },
        { "{\"op\":\"nonsense\"}", -EOPNOTSUPP },
        { "{\"op\":\"who\"", -EBADMSG },
        { "{\"op\":\"who\"} x", -EBADMSG },
        { "{\"op\":\"who\",\"op\":\"who\"}", -EBADMSG },
        { "{\"op\":\"who\",\"unknown\":[1,{}]}", 0 },
        { "{\"op\":\"room\"}", 0 },
        { "{\"op\":\"ping\",\"id\":1}", 0 },
        { "{\"op\":\"ping\",\"id\":\"1\"}", -EBADMSG },
        { "{\"op\":\"ping\",\"id\":1.0}", -EBADMSG },
        { "{\"op\":\"ping\",\"id\":-1}", -EBADMSG },
        { "{\"op\":\"ping\",\"id\":9223372036854775807}", 0 },
        { "{\"op\":\"ping\",\"id\":9223372036854775808}", -EBADMSG },
        { "{\"op\":\"ping\",\"id\":18446744073709551616}", -EBADMSG },
        { "{\"op\":\"ping\",\"id\":null}", -EBADMSG },
        { "{\"op\":\"ping\",\"id\":true}", -EBADMSG },
        { "{\"op\":\"resize\",\"id\":1,\"size\":1,\"reason\":7}", -EBADMSG },
        { "{\"op\":\"resize\",\"id\":1,\"size\":1,\"reason\":\"a\\u0000b\"}", -EBADMSG },
        { "{\"op\":\"resize\",\"id\":1,\"size\":1,\"reason\":\"\xff\"}", -EBADMSG },
        { "{\"op\":\"declined\",\"id\":1,\"code\":\"because\"}", -EBADMSG },
        { "{\"op\":\"declined\",\"id\":1,\"code\":\"in-use\"}", 0 },
        { "{\"op\":\"stats\",\"available\":1,\"total\":1,\"some10\":10001,\"level\":\"normal\"}", -EBADMSG },
        { "{\"op\":\"stats\",\"available\":1,\"total\":1,\"some10\":10000,\"level\":\"angry\"}", -EBADMSG },
        { "{\"op\":\"stats\",\"available\":1,\"total\":1,\"some10\":10000,\"level\":\"normal\"}", 0 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct channel_message m = { .op = CHANNEL_PONG, .id = 99 };
        int r = channel_decode(rows[i].line, strlen(rows[i].line), &m);

        if (r != rows[i].result || (r < 0 && (m.op != CHANNEL_PONG || m.id != 99)))
            fail_msg("%s: got %d", rows[i].line, r);
    }
}

static void test_long_and_deep(void **state)
{
    struct channel_message m;
    char line[CHANNEL_LINE_MAX + 64];
    size_t len = 0;

    memset(line, '[', 4000);
    assert_int_equal(channel_decode(line, 4000, &m), -EBADMSG);
    len = (size_t)snprintf(
            line, sizeof(line), "{\"op\":\"resize\",\"id\":1,\"size\":1,\"reason\":\"%0128d\"}", 0);
    assert_int_equal(channel_decode(line, len, &m), -EBADMSG);
    len = (size_t)snprintf(
            line, sizeof(line), "{\"op\":\"resize\",\"id\":1,\"size\":1,\"reason\":\"%0127d\"}", 0);
    assert_int_equal(channel_decode(line, len, &m), 0);
    memset(line, ' ', sizeof(line));
    memcpy(line, "{\"op\":\"who\"}", 12);
    assert_int_equal(channel_decode(line, CHANNEL_LINE_MAX, &m), -EBADMSG);
    assert_int_equal(channel_decode(line, CHANNEL_LINE_MAX - 1, &m), 0);
    assert_int_equal(channel_decode("{\"op\":\"who\"\0}", 13, &m), -EBADMSG);
}

static void test_encode_refuses(void **state)
{
    struct channel_message m = full_message(CHANNEL_RESIZE);
    char line[CHANNEL_LINE_MAX];
    size_t len = 5;

    m.size = (uint64_t)INT64_MAX + 1;
    assert_int_equal(channel_encode(&m, line, sizeof(line), &len), -EINVAL);
    m = full_message(CHANNEL_RESIZE);
    memset(m.reason, 'x', sizeof(m.reason));
    assert_int_equal(channel_encode(&m, line, sizeof(line), &len), -EINVAL);
    m = full_message(CHANNEL_RESIZE);
    m.reason[0] = (char)0xff;
    assert_int_equal(channel_encode(&m, line, sizeof(line), &len), -EINVAL);
    m = full_message(_CHANNEL_OP_MAX);
    assert_int_equal(channel_encode(&m, line, sizeof(line), &len), -EINVAL);
    m = full_message(CHANNEL_RESIZE);
    for (size_t size = 0; size < 40; size++)
        assert_int_equal(channel_encode(&m, line, size, &len), -ENOBUFS);
    assert_int_equal(len, 5);
}

static void test_names(void **state)
{
    for (int i = 0; i < _CHANNEL_OP_MAX; i++)
        assert_int_equal(channel_op_from_string(channel_op_to_string(i)), i);
    for (int i = 0; i < _CHANNEL_CODE_MAX; i++)
        assert_int_equal(channel_code_from_string(channel_code_to_string(i)), i);
    for (int i = 0; i < _CHANNEL_LEVEL_MAX; i++)
        assert_int_equal(channel_level_from_string(channel_level_to_string(i)), i);
    assert_null(channel_op_to_string(_CHANNEL_OP_MAX));
    assert_true((int)channel_code_from_string("x") < 0);
    assert_true((int)channel_level_from_string(NULL) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip_of_every_op),
        cmocka_unit_test(test_every_key_is_required),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_long_and_deep),
        cmocka_unit_test(test_encode_refuses),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
