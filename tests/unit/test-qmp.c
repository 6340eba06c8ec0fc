/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "bytes.h"
#include "qmp-message.h"

static const char ids[2][DEVICE_ID_MAX] = { "vm0", "vm1" };

#define DEVICE(id, size, requested, max, block)                                                              \
    "{\"type\":\"virtio-mem\",\"data\":{\"id\":\"" id "\",\"size\":" size ",\"requested-size\":" requested   \
    ",\"max-size\":" max ",\"block-size\":" block ",\"memaddr\":4294967296,\"node\":0}}"
#define GOOD0 DEVICE("vm0", "2097152", "4194304", "8589934592", "2097152")
#define GOOD1 DEVICE("vm1", "0", "0", "4294967296", "4194304")

static void test_format(void **state)
{
    char buf[256];
    size_t len = 0;

    assert_int_equal(qmp_format(QMP_CAPABILITIES, 1, NULL, 0, buf, sizeof(buf), &len), 0);
    assert_int_equal(len, strlen("{\"execute\":\"qmp_capabilities\",\"id\":1}\n"));
    assert_memory_equal(buf, "{\"execute\":\"qmp_capabilities\",\"id\":1}\n", len);
    assert_int_equal(qmp_format(QMP_SET_REQUESTED, 7, "vm0", GIB(4), buf, sizeof(buf), &len), 0);
    assert_memory_equal(buf,
            "{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/machine/peripheral/vm0\","
            "\"property\":\"requested-size\",\"value\":4294967296},\"id\":7}\n",
            len);
    len = 99;
    assert_int_equal(qmp_format(QMP_SET_REQUESTED, 7, "vm0", GIB(4), buf, 64, &len), -ENOBUFS);
    assert_int_equal(len, 99);
}

static void test_status_and_migration(void **state)
{
    static const struct {
        const char *status;
        bool migrating;
    } rows[] = {
        { "none", false },
        { "setup", true },
        { "active", true },
        { "postcopy-active", true },
        { "postcopy-paused", true },
        { "pre-switchover", true },
        { "device", true },
        { "wait-unplug", true },
        { "cancelling", true },
        { "cancelled", false },
        { "failed", false },
        { "completed", false },
    };
    json_t *value = json_pack("{s:b,s:s}", "running", 1, "status", "running");
    bool running = false;
    char buf[256];
    size_t len;

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        json_t *answer = json_pack("{s:s}", "status", rows[i].status);

        assert_int_equal(qmp_is_migrating(rows[i].status), rows[i].migrating);
        assert_int_equal(qmp_decode_migrate(answer), rows[i].migrating);
        json_decref(answer);
    }
    assert_int_equal(qmp_decode_status(value, &running), 0);
    assert_true(running);
    json_object_clear(value);
    assert_int_equal(qmp_decode_status(value, &running), -EBADMSG);
    assert_true(running);
    assert_false(qmp_decode_migrate(value));
    json_decref(value);
    assert_int_equal(qmp_format(QMP_TELL_MIGRATION, 5, NULL, 0, buf, sizeof(buf), &len), 0);
    value = json_loadb(buf, len, 0, NULL);
    assert_non_null(value);
    json_decref(value);
}

static void test_parse(void **state)
{
    static const struct {
        const char *line;
        int result;
        enum qmp_kind kind;
        bool has_id;
        uint64_t id;
        const char *name;
    } rows[] = {
        { "{\"QMP\":{\"version\":{},\"capabilities\":[]}}", 0, QMP_GREETING, false, 0, "" },
        { "{\"return\":{},\"id\":3}", 0, QMP_RETURN, true, 3, "" },
        { "{\"return\":{},\"id\":3}\r", 0, QMP_RETURN, true, 3, "" },
        { "{\"return\":[],\"id\":9223372036854775807}", 0, QMP_RETURN, true, INT64_MAX, "" },
        { "{\"return\":{}}", 0, QMP_RETURN, false, 0, "" },
        { "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"},\"id\":1}", 0, QMP_ERROR, true, 1,
                "GenericError" },
        { "{\"event\":\"RESET\",\"data\":{},\"timestamp\":{\"seconds\":1,\"microseconds\":2}}", 0, QMP_EVENT,
                false, 0, "RESET" },
        { "", -EBADMSG, 0, false, 0, "" },
        { "garbage", -EBADMSG, 0, false, 0, "" },
        { "[]", -EBADMSG, 0, false, 0, "" },
        { "{}", -EBADMSG, 0, false, 0, "" },
        { "{\"QMP\":1}", -EBADMSG, 0, false, 0, "" },
        { "{\"return\":{},\"id\":\"3\"}", -EBADMSG, 0, false, 0, "" },
        { "{\"return\":{},\"id\":-3}", -EBADMSG, 0, false, 0, "" },
        { "{\"return\":{},\"id\":3.5}", -EBADMSG, 0, false, 0, "" },
        { "{\"return\":{},\"id\":9223372036854775808}", -EBADMSG, 0, false, 0, "" },
        { "{\"return\":{},\"id\":3,\"id\":4}", -EBADMSG, 0, false, 0, "" },
        { "{\"return\":{},\"error\":{\"class\":\"a\",\"desc\":\"b\"},\"id\":1}", -EBADMSG, 0, false, 0, "" },
        { "{\"error\":\"no\",\"id\":1}", -EBADMSG, 0, false, 0, "" },
        { "{\"error\":{\"class\":\"a\"},\"id\":1}", -EBADMSG, 0, false, 0, "" },
        { "{\"event\":5}", -EBADMSG, 0, false, 0, "" },
        { "{\"event\":\"A23456789B123456789C123456789D123456789E123456789F123456789G1234\"}", -EBADMSG, 0,
                false, 0, "" },
        { "{\"return\":{},\"id\":3", -EBADMSG, 0, false, 0, "" },
        { "{\"return\":{},\"id\":3}{}", -EBADMSG, 0, false, 0, "" },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct qmp_message m = { .kind = 77 };
        int r = qmp_message_parse(rows[i].line, strlen(rows[i].line), &m);

        if (r != rows[i].result)
            fail_msg("row %zu: %d: %s", i, r, rows[i].line);
        if (r < 0) {
            assert_int_equal(m.kind, 77);
            continue;
        }
        assert_int_equal(m.kind, rows[i].kind);
        assert_int_equal(m.has_id, rows[i].has_id);
        assert_int_equal(m.id, rows[i].id);
        assert_string_equal(m.name, rows[i].name);
        assert_int_equal(m.value != NULL, m.kind == QMP_RETURN);
        qmp_message_clear(&m);
    }
}

/* A long description is cut between characters: it goes into a log line. */
static void test_error_text_is_cut(void **state)
{
    char line[1024] = "{\"error\":{\"class\":\"C\",\"desc\":\"x";
    struct qmp_message m;

    for (unsigned i = 0; i < 200; i++)
        strcat(line, "é");
    strcat(line, "\"},\"id\":1}");
    assert_int_equal(qmp_message_parse(line, strlen(line), &m), 0);
    assert_int_equal(strlen(m.text), 255);
    assert_memory_equal(m.text, "xé", 3);
    assert_int_equal((unsigned char)m.text[254], 0xA9);
}

static void test_devices(void **state)
{
    static const struct {
        const char *json;
        int result;
        uint64_t other;
        unsigned bad;
    } rows[] = {
        { "[" GOOD0 "," GOOD1 "]", 0, 0, 0 },
        { "[" GOOD1 "," GOOD0 "]", 0, 0, 0 },
        { "[" GOOD0 ",{\"type\":\"dimm\",\"data\":{\"id\":\"d\",\"size\":1024}}," GOOD1 "]", 0, 1024, 0 },
        { "[" GOOD0 "," GOOD1 "," DEVICE("vm7", "2097152", "4194304", "8388608", "2097152") "]", 0, MIB(4),
                0 },
        { "[" GOOD0 "," GOOD1 ",{\"type\":\"sgx-epc\",\"data\":{\"memaddr\":0}}]", 0, 0, 0 },
        { "[" GOOD0 "]", -ENODEV, 0, 1 },
        { "[]", -ENODEV, 0, 0 },
        { "[" GOOD0 "," GOOD0 "," GOOD1 "]", -EBADMSG, 0, 0 },
        { "{}", -EBADMSG, 0, 0 },
        { "[1]", -EBADMSG, 0, 0 },
        { "[{}]", -EBADMSG, 0, 0 },
        { "[" GOOD0 ",{\"type\":\"dimm\",\"data\":{\"id\":\"vm1\",\"size\":1024}}]", -EBADMSG, 0, 0 },
        { "[" GOOD0 "," GOOD1 ",{\"type\":\"dimm\",\"data\":{\"size\":-1}}]", -EBADMSG, 0, 0 },
        { "[" GOOD0 "," GOOD1 ",{\"type\":\"virtio-mem\",\"data\":{}}]", -EBADMSG, 0, 0 },
        /* size above max, requested above max, no multiple, block 0, block no power of two */
        { "[" GOOD1 "," DEVICE("vm0", "4194304", "0", "2097152", "2097152") "]", -EBADMSG, 0, 0 },
        { "[" GOOD1 "," DEVICE("vm0", "0", "4194304", "2097152", "2097152") "]", -EBADMSG, 0, 0 },
        { "[" GOOD1 "," DEVICE("vm0", "4096", "0", "2097152", "2097152") "]", -EBADMSG, 0, 0 },
        { "[" GOOD1 "," DEVICE("vm0", "0", "4096", "2097152", "2097152") "]", -EBADMSG, 0, 0 },
        { "[" GOOD1 "," DEVICE("vm0", "0", "0", "4096", "2097152") "]", -EBADMSG, 0, 0 },
        { "[" GOOD1 "," DEVICE("vm0", "0", "0", "0", "0") "]", -EBADMSG, 0, 0 },
        { "[" GOOD1 "," DEVICE("vm0", "0", "0", "6291456", "3145728") "]", -EBADMSG, 0, 0 },
        /* wrong types, negative, missing, sum over INT64_MAX */
        { "[" GOOD1 "," DEVICE("vm0", "\"0\"", "0", "4194304", "2097152") "]", -EBADMSG, 0, 0 },
        { "[" GOOD1 "," DEVICE("vm0", "-2097152", "0", "4194304", "2097152") "]", -EBADMSG, 0, 0 },
        { "[" GOOD1 "," DEVICE("vm0", "0.5", "0", "4194304", "2097152") "]", -EBADMSG, 0, 0 },
        { "[" GOOD1 ",{\"type\":\"virtio-mem\",\"data\":{\"id\":\"vm0\",\"size\":0}}]", -EBADMSG, 0, 0 },
        { "[" GOOD1 "," DEVICE("vm0", "0", "0", "9223372036852678656", "2097152") "]", -EBADMSG, 0, 0 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct device_numbers d[2] = { { .size = 1 } };
        uint64_t other = 99;
        unsigned bad = 99;
        json_t *value = json_loads(rows[i].json, 0, NULL);
        int r;

        assert_non_null(value);
        r = qmp_decode_devices(value, ids, 2, d, &other, &bad);
        json_decref(value);
        if (r != rows[i].result)
            fail_msg("row %zu: %d: %s", i, r, rows[i].json);
        if (r == -ENODEV)
            assert_int_equal(bad, rows[i].bad);
        if (r < 0) {
            assert_int_equal(d[0].size, 1);
            assert_int_equal(other, 99);
            continue;
        }
        assert_int_equal(other, rows[i].other);
        assert_int_equal(d[0].size, MIB(2));
        assert_int_equal(d[0].requested_size, MIB(4));
        assert_int_equal(d[0].max_size, GIB(8));
        assert_int_equal(d[1].max_size, GIB(4));
        assert_int_equal(d[1].block_size, MIB(4));
    }
}

static void test_summary(void **state)
{
    static const struct {
        const char *json;
        int result;
    } rows[] = {
        { "{\"base-memory\":1073741824,\"plugged-memory\":0}", 0 },
        { "{\"plugged-memory\":0}", -EBADMSG },
        { "{\"base-memory\":-1}", -EBADMSG },
        { "{\"base-memory\":\"1G\"}", -EBADMSG },
        { "[]", -EBADMSG },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        json_t *value = json_loads(rows[i].json, 0, NULL);
        uint64_t base = 5;

        assert_int_equal(qmp_decode_summary(value, &base), rows[i].result);
        assert_int_equal(base, rows[i].result < 0 ? 5 : GIB(1));
        json_decref(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_status_and_migration),
        cmocka_unit_test(test_error_text_is_cut),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_summary),
    };

    return cmocka_run_group_tests_name("qmp", tests, NULL, NULL);
}
