/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "bytes.h"
#include "domain-xml.h"
#include "qmp-message.h"

#define MEMORY(alias, size, requested, current)                                                              \
    "<memory model='virtio-mem'><target><size unit='KiB'>" size "</size><node>0</node>"                      \
    "<block unit='KiB'>2048</block><requested unit='KiB'>" requested "</requested>"                          \
    "<current unit='KiB'>" current "</current></target><alias name='" alias "'/>"                            \
    "<address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></memory>"
#define DIMM "<memory model='dimm'><target><size unit='MiB'>512</size></target><alias name='dimm0'/></memory>"
#define CHANNEL                                                                                              \
    "<channel type='unix'><source mode='bind' path='/run/a.sock'/><target type='virtio' "                    \
    "name='org.vmtide.0'/></channel>"
#define OTHER_CHANNEL                                                                                        \
    "<channel type='unix'><source mode='bind' path='/run/b.sock'/><target type='virtio' "                    \
    "name='org.qemu.guest_agent.0'/></channel>"
#define DOMAIN(devices)                                                                                      \
    "<domain type='qemu' id='1'><name>a</name><memory unit='KiB'>4194304</memory>"                           \
    "<devices>" devices "</devices></domain>"
#define GOOD                                                                                                 \
    DOMAIN(OTHER_CHANNEL CHANNEL MEMORY("virtiomem0", "1048576", "2048", "4096")                             \
                    MEMORY("virtiomem1", "1048576", "0", "0") DIMM)

static void test_describe(void **state)
{
    static const struct {
        const char *xml;
        int result;
        const char *channel;
        unsigned n_devices;
    } rows[] = {
        { GOOD, 0, "/run/a.sock", 2 },
        { DOMAIN(CHANNEL), 0, "/run/a.sock", 0 },
        { DOMAIN(OTHER_CHANNEL MEMORY("m", "1", "0", "0")), 0, "", 1 },
        { DOMAIN(DIMM), 0, "", 0 },
        { "<domain/>", 0, "", 0 },
        { DOMAIN("<channel type='spicevmc'><target type='virtio' name='org.vmtide.0'/></channel>"), 0, "",
                0 },
        { DOMAIN("<channel type='unix'><target type='virtio' name='org.vmtide.0'/></channel>"), 0, "", 0 },
        { DOMAIN("<memory model='virtio-mem'/>"), -EBADMSG, NULL, 0 },
        { "", -EBADMSG, NULL, 0 },
        { "<domain>", -EBADMSG, NULL, 0 },
        { "<network/>", -EBADMSG, NULL, 0 },
        { "\xff\xfe", -EBADMSG, NULL, 0 },
        { DOMAIN(MEMORY("0", "1", "0", "0") MEMORY("1", "1", "0", "0") MEMORY("2", "1", "0", "0") MEMORY(
                  "3", "1", "0", "0") MEMORY("4", "1", "0", "0") MEMORY("5", "1", "0", "0")
                          MEMORY("6", "1", "0", "0") MEMORY("7", "1", "0", "0") MEMORY("8", "1", "0", "0")),
                -E2BIG, NULL, 0 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct domain_info info = { .n_devices = 99 };
        int r = domain_xml_describe(rows[i].xml, &info);

        if (r != rows[i].result)
            fail_msg("row %zu: %d", i, r);
        assert_int_equal(info.n_devices, r < 0 ? 99 : rows[i].n_devices);
        if (r >= 0)
            assert_string_equal(info.channel, rows[i].channel);
    }
}

/* What comes out is what qmp_decode_devices() takes. */
static void test_numbers(void **state)
{
    static const char ids[2][DEVICE_ID_MAX] = { "virtiomem0", "virtiomem1" };
    struct device_numbers d[DEVICES_MAX];
    uint64_t other, base;
    unsigned bad = 0;
    json_t *value = NULL;

    assert_int_equal(domain_xml_devices(GOOD, &value), 0);
    assert_int_equal(qmp_decode_devices(value, ids, 2, d, &other, &bad), 0);
    assert_int_equal(d[0].size, MIB(4));
    assert_int_equal(d[0].requested_size, MIB(2));
    assert_int_equal(d[0].max_size, GIB(1));
    assert_int_equal(d[1].block_size, MIB(2));
    assert_int_equal(other, MIB(512));
    json_decref(value);
    assert_int_equal(domain_xml_summary(GOOD, &value), 0);
    assert_int_equal(qmp_decode_summary(value, &base), 0);
    assert_int_equal(base, GIB(4) - GIB(2) - MIB(512));
    json_decref(value);
}

static void test_numbers_that_cannot_be(void **state)
{
    static const char *const rows[] = {
        "",
        "<domain/>x",
        DOMAIN(MEMORY("a", "-1", "0", "0")),
        DOMAIN(MEMORY("a", "x", "0", "0")),
        DOMAIN(MEMORY("a", "9223372036854775807", "0", "0")),
        DOMAIN(MEMORY("a", "1024", "", "0")),
        DOMAIN("<memory model='virtio-mem'><alias name='a'/></memory>"),
        DOMAIN("<memory model='virtio-mem'><target><size unit='EiB'>1</size></target><alias "
               "name='a'/></memory>"),
    };
    json_t *value = NULL;

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        assert_int_equal(domain_xml_devices(rows[i], &value), -EBADMSG);
        assert_null(value);
    }
    /* Devices larger than all. */
    assert_int_equal(domain_xml_summary(DOMAIN(MEMORY("a", "8388608", "0", "0")), &value), -EBADMSG);
    assert_int_equal(domain_xml_summary("<domain/>", &value), -EBADMSG);
}

/* What can be read, and is no device: whoever takes it as QEMU's answer refuses it. */
static void test_devices_that_cannot_be(void **state)
{
#define BLOCKS(block)                                                                                        \
    "<memory model='virtio-mem'><target><size unit='KiB'>1048576</size><block unit='KiB'>" block             \
    "</block><requested unit='KiB'>0</requested><current unit='KiB'>0</current></target><alias "             \
    "name='virtiomem0'/></memory>"
    static const struct {
        const char *xml;
        int result;
    } rows[] = {
        { DOMAIN(MEMORY("virtiomem0", "1048576", "0", "1050624")), -EBADMSG },
        { DOMAIN(MEMORY("virtiomem0", "1048576", "1050624", "0")), -EBADMSG },
        { DOMAIN(MEMORY("virtiomem0", "1048576", "1024", "0")), -EBADMSG },
        { DOMAIN(MEMORY("virtiomem0", "1048576", "0", "3072")), -EBADMSG },
        { DOMAIN(MEMORY("virtiomem0", "1049600", "0", "0")), -EBADMSG },
        { DOMAIN(BLOCKS("0")), -EBADMSG },
        { DOMAIN(BLOCKS("3")), -EBADMSG },
        { DOMAIN(MEMORY("virtiomem0", "1048576", "0", "0") MEMORY("virtiomem0", "1048576", "0", "0")),
                -EBADMSG },
        { DOMAIN(MEMORY("other", "1048576", "0", "0")), -ENODEV },
        { DOMAIN(MEMORY("virtiomem0", "1048576", "2048", "4096")), 0 },
        { DOMAIN(BLOCKS("4096")), 0 },
    };
    static const char ids[1][DEVICE_ID_MAX] = { "virtiomem0" };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct device_numbers d[DEVICES_MAX];
        json_t *value = NULL;
        unsigned bad = 0;
        uint64_t other;
        int r = domain_xml_devices(rows[i].xml, &value);

        if (r >= 0)
            r = qmp_decode_devices(value, ids, 1, d, &other, &bad);
        if (r != rows[i].result)
            fail_msg("row %zu: %d", i, r);
        json_decref(value);
    }
}

static void test_update(void **state)
{
    char *xml = NULL;

    assert_int_equal(domain_xml_update(GOOD, "virtiomem1", GIB(1), &xml), 0);
    assert_non_null(strstr(xml, "<requested unit=\"bytes\">1073741824</requested>"));
    assert_non_null(strstr(xml, "virtiomem1"));
    assert_non_null(strstr(xml, "<address "));
    assert_null(strstr(xml, "virtiomem0"));
    free(xml);
    xml = NULL;
    assert_int_equal(domain_xml_update(GOOD, "nosuch", 0, &xml), -ENODEV);
    assert_int_equal(domain_xml_update(GOOD, "dimm0", 0, &xml), -ENODEV);
    assert_int_equal(domain_xml_update("<x/>", "a", 0, &xml), -EBADMSG);
    assert_int_equal(
            domain_xml_update(
                    DOMAIN("<memory model='virtio-mem'><target/><alias name='a'/></memory>"), "a", 0, &xml),
            -EBADMSG);
    assert_null(xml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_numbers_that_cannot_be),
        cmocka_unit_test(test_devices_that_cannot_be),
        cmocka_unit_test(test_update),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
