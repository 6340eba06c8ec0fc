/* SPDX-License-Identifier: MIT */
/* Commands to a domain. */
#include "libvirt-worker-internal.h"

static int set_requested(virDomainPtr domain, const char *xml, const struct libvirt_work *work)
{
    char *device = NULL;
    int r = domain_xml_update(xml, work->device, work->value, &device);

    if (r >= 0)
        r = virDomainUpdateDeviceFlags(domain, device, VIR_DOMAIN_AFFECT_LIVE) < 0 ? -EIO : 0;
    free(device);
    return r;
}

static json_t *query_status(virDomainPtr domain)
{
    int state = VIR_DOMAIN_NOSTATE, reason;

    if (virDomainGetState(domain, &state, &reason, 0) < 0)
        return NULL;
    return json_pack("{s:b}", "running", state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED);
}

/* Those that are answered from the domain's XML. -EIO: libvirt's error. */
static int call_with_xml(virDomainPtr domain, const struct libvirt_work *work, json_t **ret)
{
    char *xml = virDomainGetXMLDesc(domain, 0);
    int r = -EINVAL;

    if (!xml)
        return -EIO;
    if (work->command == QMP_QUERY_DEVICES)
        r = domain_xml_devices(xml, ret);
    else if (work->command == QMP_QUERY_SUMMARY)
        r = domain_xml_summary(xml, ret);
    else if (work->command == QMP_SET_REQUESTED) {
        r = set_requested(domain, xml, work);
        *ret = r >= 0 ? json_object() : NULL;
    }
    free(xml);
    return r;
}

json_t *libvirt_call(virDomainPtr domain, const struct libvirt_work *work, char **ret_text)
{
    json_t *value = NULL;
    int r = domain ? 0 : -EIO;

    if (r >= 0 && work->command == QMP_QUERY_STATUS) {
        value = query_status(domain);
        r = value ? 0 : -EIO;
    } else if (r >= 0 && (work->command == QMP_TELL_MIGRATION || work->command == QMP_QUERY_MIGRATE))
        value = json_object(); /* libvirt tells by itself */
    else if (r >= 0)
        r = call_with_xml(domain, work, &value);
    if (!value)
        *ret_text = r == -EIO ? libvirt_last_error() : g_strdup(strerror(r < 0 ? -r : ENOMEM));
    return value;
}
