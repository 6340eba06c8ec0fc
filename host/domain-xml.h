/* SPDX-License-Identifier: MIT */
#pragma once

#include <jansson.h>

#include "device.h"

/* What libvirt says of a domain, as pure functions on its XML. */

/* Longest XML that is looked at; one of a large machine has some 30 KiB. */
#define DOMAIN_XML_MAX (1024UL * 1024)

/* What makes a VM of ours out of a domain. */
struct domain_info {
    char channel[128];                       /* path of the socket of org.vmtide.0; empty: it has none */
    char device[DEVICES_MAX][DEVICE_ID_MAX]; /* aliases of its virtio-mem devices */
    unsigned n_devices;
};

/* -EBADMSG: not the XML of a domain; -E2BIG: more than DEVICES_MAX such devices. */
int domain_xml_describe(const char *xml, struct domain_info *ret);

/* The devices as QEMU's query-memory-devices tells them, and the memory besides as query-memory-size-summary
 * does. -EBADMSG. */
int domain_xml_devices(const char *xml, json_t **ret);
int domain_xml_summary(const char *xml, json_t **ret);

/* The XML of one device with another requested size (bytes), for virDomainUpdateDeviceFlags(); free().
 * -ENODEV: no such alias; -EBADMSG. */
int domain_xml_update(const char *xml, const char *alias, uint64_t requested, char **ret);
