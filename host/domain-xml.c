/* SPDX-License-Identifier: MIT */
#include "domain-xml.h"

#include <glib.h>
#include <libxml/parser.h>
#include <libxml/tree.h>

#include "bytes.h"
#include "channel.h"

static inline void doc_freep(xmlDoc **doc)
{
    xmlFreeDoc(*doc);
}

static int parse(const char *xml, xmlDoc **ret)
{
    size_t len = strlen(xml);
    xmlNode *root;
    xmlDoc *doc;

    if (len > DOMAIN_XML_MAX)
        return -EBADMSG;
    doc = xmlReadMemory(
            xml, (int)len, "domain.xml", NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    root = doc ? xmlDocGetRootElement(doc) : NULL;
    if (!root || !streq((const char *)root->name, "domain")) {
        xmlFreeDoc(doc);
        return -EBADMSG;
    }
    *ret = doc;
    return 0;
}

/* The first child of that name after this one; after NULL: the first. */
static xmlNode *next_child(const xmlNode *parent, xmlNode *after, const char *name)
{
    for (xmlNode *n = after ? after->next : parent ? parent->children : NULL; n; n = n->next)
        if (n->type == XML_ELEMENT_NODE && streq((const char *)n->name, name))
            return n;
    return NULL;
}

static xmlNode *child(const xmlNode *parent, const char *name)
{
    return next_child(parent, NULL, name);
}

/* Copies an attribute; false: there is none, or it does not fit. */
static bool attribute(const xmlNode *n, const char *name, char *ret, size_t size)
{
    xmlChar *value = n ? xmlGetProp(n, (const xmlChar *)name) : NULL;
    bool fits = value && strlen((const char *)value) < size;

    if (fits)
        g_strlcpy(ret, (const char *)value, size);
    xmlFree(value);
    return fits;
}

static bool has_attribute(const xmlNode *n, const char *name, const char *wanted)
{
    char value[64];

    return attribute(n, name, value, sizeof(value)) && streq(value, wanted);
}

/* Sizes come in KiB, whatever unit they were written in. */
static int read_size(const xmlNode *n, uint64_t *ret)
{
    static const struct {
        const char *unit;
        uint64_t factor;
    } units[] = {
        { "KiB", 1024 },
        { "k", 1024 },
        { "b", 1 },
        { "bytes", 1 },
        { "MiB", MIB(1) },
        { "M", MIB(1) },
        { "GiB", GIB(1) },
        { "G", GIB(1) },
    };
    xmlChar *text = n ? xmlNodeGetContent(n) : NULL;
    char unit[16] = "KiB";
    guint64 number = 0;
    bool good = text && g_ascii_string_to_unsigned((const char *)text, 10, 0, INT64_MAX, &number, NULL);

    xmlFree(text);
    if (!good)
        return -EBADMSG;
    (void)attribute(n, "unit", unit, sizeof(unit));
    for (size_t i = 0; i < ELEMENTSOF(units); i++)
        if (streq(unit, units[i].unit))
            return bytes_mul(number, units[i].factor, ret) < 0 ? -EBADMSG : 0;
    return -EBADMSG;
}

/* The memory devices one after the other. */
static xmlNode *next_memory(xmlDoc *doc, xmlNode *after)
{
    return next_child(child(xmlDocGetRootElement(doc), "devices"), after, "memory");
}

static bool is_virtio_mem(const xmlNode *memory)
{
    return has_attribute(memory, "model", "virtio-mem");
}

static int add_device(struct domain_info *info, const xmlNode *memory)
{
    if (!is_virtio_mem(memory))
        return 0;
    if (info->n_devices == DEVICES_MAX)
        return -E2BIG;
    /* Without an alias the domain does not run. */
    if (!attribute(child(memory, "alias"), "name", info->device[info->n_devices], DEVICE_ID_MAX))
        return -EBADMSG;
    info->n_devices++;
    return 0;
}

static void find_channel(xmlDoc *doc, struct domain_info *info)
{
    const xmlNode *devices = child(xmlDocGetRootElement(doc), "devices");

    for (xmlNode *n = child(devices, "channel"); n; n = next_child(devices, n, "channel"))
        if (has_attribute(child(n, "target"), "name", CHANNEL_PORT_NAME) &&
                has_attribute(n, "type", "unix") &&
                attribute(child(n, "source"), "path", info->channel, sizeof(info->channel)))
            return;
}

int domain_xml_describe(const char *xml, struct domain_info *ret)
{
    _cleanup_(doc_freep) xmlDoc *doc = NULL;
    struct domain_info info = { 0 };
    int r = parse(xml, &doc);

    for (xmlNode *n = r >= 0 ? next_memory(doc, NULL) : NULL; n && r >= 0; n = next_memory(doc, n))
        r = add_device(&info, n);
    if (r < 0)
        return r;
    find_channel(doc, &info);
    *ret = info;
    return 0;
}

/* The names are QEMU's, so that qmp_decode_devices() checks these numbers as it does QEMU's. */
static int device_json(const xmlNode *memory, json_t **ret)
{
    const xmlNode *target = child(memory, "target");
    uint64_t max, block = 0, requested = 0, size = 0;
    char alias[DEVICE_ID_MAX];
    int r = read_size(child(target, "size"), &max);

    if (r < 0)
        return r;
    if (!is_virtio_mem(memory)) {
        *ret = json_pack("{s:s, s:{s:I}}", "type", "dimm", "data", "size", (json_int_t)max);
        return *ret ? 0 : -ENOMEM;
    }
    if (!attribute(child(memory, "alias"), "name", alias, sizeof(alias)) ||
            read_size(child(target, "block"), &block) < 0 ||
            read_size(child(target, "requested"), &requested) < 0 ||
            read_size(child(target, "current"), &size) < 0)
        return -EBADMSG;
    *ret = json_pack("{s:s, s:{s:s, s:I, s:I, s:I, s:I}}", "type", "virtio-mem", "data", "id", alias, "size",
            (json_int_t)size, "requested-size", (json_int_t)requested, "max-size", (json_int_t)max,
            "block-size", (json_int_t)block);
    return *ret ? 0 : -ENOMEM;
}

int domain_xml_devices(const char *xml, json_t **ret)
{
    _cleanup_(doc_freep) xmlDoc *doc = NULL;
    json_t *all = json_array(), *one = NULL;
    int r = parse(xml, &doc);

    for (xmlNode *n = r >= 0 ? next_memory(doc, NULL) : NULL; n && r >= 0; n = next_memory(doc, n)) {
        r = device_json(n, &one);
        if (r >= 0)
            r = json_array_append_new(all, one) < 0 ? -ENOMEM : 0;
    }
    if (r < 0) {
        json_decref(all);
        return r;
    }
    *ret = all;
    return 0;
}

/* <memory> is all the domain may have: boot memory and the devices' whole sizes. */
int domain_xml_summary(const char *xml, json_t **ret)
{
    _cleanup_(doc_freep) xmlDoc *doc = NULL;
    uint64_t all, device;
    int r = parse(xml, &doc);

    if (r >= 0)
        r = read_size(child(xmlDocGetRootElement(doc), "memory"), &all);
    for (xmlNode *n = r >= 0 ? next_memory(doc, NULL) : NULL; n && r >= 0; n = next_memory(doc, n)) {
        r = read_size(child(child(n, "target"), "size"), &device);
        if (r >= 0)
            r = device > all ? -EBADMSG : 0;
        if (r >= 0)
            all -= device;
    }
    if (r < 0)
        return r;
    *ret = json_pack("{s:I}", "base-memory", (json_int_t)all);
    return *ret ? 0 : -ENOMEM;
}

static char *dump(xmlDoc *doc, xmlNode *n)
{
    xmlBuffer *buffer = xmlBufferCreate();
    char *text = NULL;

    if (buffer && xmlNodeDump(buffer, doc, n, 0, 0) >= 0)
        text = strdup((const char *)xmlBufferContent(buffer));
    xmlBufferFree(buffer);
    return text;
}

int domain_xml_update(const char *xml, const char *alias, uint64_t requested, char **ret)
{
    _cleanup_(doc_freep) xmlDoc *doc = NULL;
    xmlNode *memory, *value;
    char text[32], *updated;
    int r = parse(xml, &doc);

    if (r < 0)
        return r;
    for (memory = next_memory(doc, NULL); memory; memory = next_memory(doc, memory))
        if (is_virtio_mem(memory) && has_attribute(child(memory, "alias"), "name", alias))
            break;
    value = child(child(memory, "target"), "requested");
    if (!memory)
        return -ENODEV;
    if (!value)
        return -EBADMSG;
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)requested);
    xmlNodeSetContent(value, (const xmlChar *)text);
    (void)xmlSetProp(value, (const xmlChar *)"unit", (const xmlChar *)"bytes");
    updated = dump(doc, memory);
    if (!updated)
        return -ENOMEM;
    *ret = updated;
    return 0;
}
