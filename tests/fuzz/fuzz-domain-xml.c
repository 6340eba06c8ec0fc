/* SPDX-License-Identifier: MIT */
/* What libvirt says of a domain, to the numbers of its devices. */
#include "fuzz.h"

#include "bytes.h"
#include "domain-xml.h"
#include "qmp-message.h"

static void check_devices(const char *xml, const struct domain_info *info)
{
    struct device_numbers d[DEVICES_MAX];
    json_t *value = NULL;
    uint64_t other;
    unsigned bad = 0;

    if (domain_xml_devices(xml, &value) < 0)
        return;
    if (info->n_devices > 0 && qmp_decode_devices(value, info->device, info->n_devices, d, &other, &bad) == 0)
        for (unsigned i = 0; i < info->n_devices; i++)
            FUZZ_CHECK(d[i].size <= d[i].max_size && d[i].requested_size <= d[i].max_size);
    json_decref(value);
}

static void check_update(const char *xml, const struct domain_info *info)
{
    char *device = NULL;

    for (unsigned i = 0; i < info->n_devices; i++) {
        if (domain_xml_update(xml, info->device[i], MIB(2), &device) < 0)
            continue;
        FUZZ_CHECK(strstr(device, "2097152"));
        free(device);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *xml = fuzz_text(data, size);
    struct domain_info info;
    json_t *value = NULL;

    if (domain_xml_summary(xml, &value) >= 0)
        json_decref(value);
    if (domain_xml_describe(xml, &info) < 0)
        return 0;
    FUZZ_CHECK(info.n_devices <= DEVICES_MAX && memchr(info.channel, 0, sizeof(info.channel)));
    check_devices(xml, &info);
    check_update(xml, &info);
    return 0;
}
