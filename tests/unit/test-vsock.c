/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "vsock.h"

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        int result;
        uint32_t cid, port;
    } rows[] = {
        { "vsock", 0, VSOCK_CID_HOST, VSOCK_PORT_DEFAULT },
        { "vsock:7", 0, VSOCK_CID_HOST, 7 },
        { "vsock:1:9810", 0, 1, 9810 },
        { "vsock:4294967294:4294967294", 0, UINT32_MAX - 1, UINT32_MAX - 1 },
        { "", -EINVAL, 0, 0 },
        { "auto", -EINVAL, 0, 0 },
        { "/dev/vport0p1", -EINVAL, 0, 0 },
        { "vsockx", -EINVAL, 0, 0 },
        { "vsock:", -EINVAL, 0, 0 },
        { "vsock:0", -EINVAL, 0, 0 },
        { "vsock:0:5", -EINVAL, 0, 0 },
        { "vsock:1:", -EINVAL, 0, 0 },
        { "vsock::5", -EINVAL, 0, 0 },
        { "vsock:-1", -EINVAL, 0, 0 },
        { "vsock:5x", -EINVAL, 0, 0 },
        { "vsock:4294967295", -EINVAL, 0, 0 },
        { "vsock:1:2:3", -EINVAL, 0, 0 },
        { "vsock:99999999999999999999", -EINVAL, 0, 0 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct vsock_address a = { 0 };

        if (vsock_parse(rows[i].text, &a) != rows[i].result)
            fail_msg("%s", rows[i].text);
        assert_int_equal(a.cid, rows[i].cid);
        assert_int_equal(a.port, rows[i].port);
    }
}

/* Who could be listening there: with loopback any program, but for the ports of root. */
static void test_anybody(void **state)
{
    static const struct {
        struct vsock_address to;
        bool anybody;
    } rows[] = {
        { { 1, 9810 }, true },
        { { 1, 1024 }, true },
        { { 1, 1023 }, false },
        { { 2, 9810 }, false },
        { { 3, 9810 }, false },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        assert_int_equal(vsock_is_anybody(&rows[i].to), rows[i].anybody);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_parse), cmocka_unit_test(test_anybody) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
