/* SPDX-License-Identifier: MIT */
/* What something that calls itself QEMU says to the host. */
#include "fuzz.h"

#include "qmp-message.h"

static void check_devices(const json_t *value)
{
    static const char ids[2][DEVICE_ID_MAX] = { "vm0", "vm1" };
    struct device_numbers d[2];
    uint64_t other, base;
    unsigned bad = 0;

    if (qmp_decode_devices(value, ids, 2, d, &other, &bad) == 0)
        for (unsigned i = 0; i < 2; i++) {
            FUZZ_CHECK(d[i].block_size > 0 && (d[i].block_size & (d[i].block_size - 1)) == 0);
            FUZZ_CHECK(d[i].size % d[i].block_size == 0 && d[i].requested_size % d[i].block_size == 0);
            FUZZ_CHECK(d[i].size <= d[i].max_size && d[i].requested_size <= d[i].max_size);
            FUZZ_CHECK(devices_max(d, 2) <= INT64_MAX && other <= INT64_MAX);
        }
    FUZZ_CHECK(bad < 2);
    if (qmp_decode_summary(value, &base) == 0)
        FUZZ_CHECK(base <= INT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_memdup2(data, size);
    struct qmp_message m;

    if (size == 0 || size >= QMP_LINE_MAX || qmp_message_parse(text, size, &m) < 0)
        return 0;
    FUZZ_CHECK(m.kind >= 0 && m.kind < _QMP_KIND_MAX);
    FUZZ_CHECK(memchr(m.name, 0, sizeof(m.name)) && memchr(m.text, 0, sizeof(m.text)));
    FUZZ_CHECK((m.kind == QMP_RETURN) == (m.value != NULL));
    if (m.value)
        check_devices(m.value);
    qmp_message_clear(&m);
    return 0;
}
