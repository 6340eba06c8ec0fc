/* SPDX-License-Identifier: MIT */
#include "metrics-text.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>

/* Who is counted on: names, units and "_total" after Prometheus' conventions
 * (https://prometheus.io/docs/practices/naming/). */

static void put_head(GString *out, const char *name, const char *type, const char *help)
{
    g_string_append_printf(out, "# HELP vmtide_%s %s\n# TYPE vmtide_%s %s\n", name, help, name, type);
}

/* Of permyriad and µs: a number with digits behind the point, without a float on the way. */
static void put_fraction(GString *out, uint64_t value, uint64_t one, int digits)
{
    g_string_append_printf(out, "%" PRIu64 ".%0*" PRIu64 "\n", value / one, digits, value % one);
}

static void put_number(GString *out, uint64_t value)
{
    if (value == UINT64_MAX)
        g_string_append(out, "+Inf\n");
    else
        g_string_append_printf(out, "%" PRIu64 "\n", value);
}

/* A VM's name is letters, digits, '-', '_' and '.', or a domain's: what the format escapes is escaped. */
static void put_label(GString *out, const char *key, const char *value)
{
    g_string_append_printf(out, "%s=\"", key);
    for (; *value != '\0'; value++)
        if (*value == '\n')
            g_string_append(out, "\\n");
        else if (*value == '"' || *value == '\\')
            g_string_append_printf(out, "\\%c", *value);
        else
            g_string_append_c(out, *value);
    g_string_append_c(out, '"');
}

static void put_vm(
        GString *out, const char *name, const struct vm_view *v, const char *key, const char *value)
{
    g_string_append_printf(out, "vmtide_%s{", name);
    put_label(out, "vm", v->name);
    if (key) {
        g_string_append_c(out, ',');
        put_label(out, key, value);
    }
    g_string_append(out, "} ");
}

static void put_host(GString *out, const struct host_view *h)
{
    const struct {
        const char *name;
        const char *help;
        uint64_t value;
    } rows[] = {
        { "host_memory_total_bytes", "Memory of the host.", h->total },
        { "host_memory_available_bytes", "Memory of the host that is available (MemAvailable).",
                h->available },
        { "host_memory_reserve_bytes", "Memory of the host that is never granted.", h->reserve },
        { "host_memory_promised_bytes", "Granted to VMs and not touched by them yet.", h->promised },
        { "vms", "VMs that are served.", h->vms },
    };

    put_head(out, "build_info", "gauge", "The daemon's version.");
    g_string_append(out, "vmtide_build_info{version=\"" VMTIDE_VERSION "\"} 1\n");
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        put_head(out, rows[i].name, "gauge", rows[i].help);
        g_string_append_printf(out, "vmtide_%s ", rows[i].name);
        put_number(out, rows[i].value);
    }
    put_head(out, "host_pressure_ratio", "gauge",
            "Share of the last 10 s that some task of the host waited for memory.");
    g_string_append(out, "vmtide_host_pressure_ratio ");
    put_fraction(out, h->pressure10, PERMYRIAD_ONE, 4);
}

static void put_histogram(GString *out, const struct histogram *h)
{
    static const char name[] = "grant_duration_seconds";
    uint64_t count = 0;

    put_head(out, name, "histogram", "From a guest's request to QEMU's answer, of those that were granted.");
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t b = histogram_bounds[i];

        count += h->counts[i];
        g_string_append_printf(out, "vmtide_%s_bucket{le=\"%" PRIu64 ".%06" PRIu64 "\"} %" PRIu64 "\n", name,
                b / USEC_PER_SEC, b % USEC_PER_SEC, count);
    }
    count += h->counts[HISTOGRAM_BUCKETS];
    g_string_append_printf(
            out, "vmtide_%s_bucket{le=\"+Inf\"} %" PRIu64 "\nvmtide_%s_sum ", name, count, name);
    put_fraction(out, h->sum, USEC_PER_SEC, 6);
    g_string_append_printf(out, "vmtide_%s_count %" PRIu64 "\n", name, count);
}

struct row {
    const char *name;
    const char *type;
    const char *help;
    size_t offset; /* of a uint64_t in struct vm_view, or in its counters */
    bool counter;
};

#define GAUGE(name, field, help)                                                                             \
    {                                                                                                        \
        name, "gauge", help, offsetof(struct vm_view, field), false                                          \
    }
#define COUNTER(name, field, help)                                                                           \
    {                                                                                                        \
        name, "counter", help, offsetof(struct vm_counters, field), true                                     \
    }
static const struct row rows[] = {
    GAUGE("vm_size_bytes", size, "Plugged memory of the VM's virtio-mem devices."),
    GAUGE("vm_requested_size_bytes", requested_size, "What the devices were told; the size follows it."),
    GAUGE("vm_boot_size_bytes", boot_size, "Memory that the VM has besides."),
    GAUGE("vm_min_size_bytes", min_size, "The min size in force."),
    GAUGE("vm_max_size_bytes", max_size, "The max size in force."),
    GAUGE("vm_held_bytes", held, "Resident memory of the VM's QEMU when last read; 0: not known."),
    GAUGE("vm_guest_available_bytes", stats.available, "Memory that the guest says is available in it."),
    GAUGE("vm_guest_total_bytes", stats.total, "Memory that the guest says it has."),
    COUNTER("vm_grants_total", grants, "Requests of the guest that were granted."),
    COUNTER("vm_stalls_total", stalls, "Times that a change made no progress and was set again."),
    COUNTER("vm_unstuck_total", unstuck, "Shrinks that got stuck and were ended."),
    COUNTER("vm_shrink_requests_total", shrinks, "Times that the guest was asked to give memory back."),
    COUNTER("vm_shrinks_declined_total", declined, "Times that it declined."),
    COUNTER("vm_bad_lines_total", bad_lines, "Lines of the guest that were no messages."),
    COUNTER("vm_qemu_connections_lost_total", qemu_lost, "Connections to the VM's QEMU that were lost."),
};

static uint64_t value_of(const struct row *r, const struct vm_view *v)
{
    const char *base = r->counter ? (const char *)v->counters : (const char *)v;

    return *(const uint64_t *)(const void *)(base + r->offset);
}

static void put_numbers(GString *out, const struct vm_view *vms, unsigned n)
{
    for (size_t k = 0; k < ELEMENTSOF(rows); k++) {
        put_head(out, rows[k].name, rows[k].type, rows[k].help);
        for (unsigned i = 0; i < n; i++) {
            put_vm(out, rows[k].name, &vms[i], NULL, NULL);
            put_number(out, value_of(&rows[k], &vms[i]));
        }
    }
}

/* What is no plain number of bytes or events. */
static void put_others(GString *out, const struct vm_view *vms, unsigned n)
{
    put_head(out, "vm_weight", "gauge", "What the VM gets beside others when there is not enough.");
    for (unsigned i = 0; i < n; i++) {
        put_vm(out, "vm_weight", &vms[i], NULL, NULL);
        put_number(out, vms[i].weight);
    }
    put_head(out, "vm_paused", "gauge", "Whether an administrator has paused the VM.");
    for (unsigned i = 0; i < n; i++) {
        put_vm(out, "vm_paused", &vms[i], NULL, NULL);
        put_number(out, vms[i].paused_until > 0);
    }
    put_head(out, "vm_guest_pressure_ratio", "gauge",
            "Share of the last 10 s that some task of the guest waited for memory, as it says.");
    for (unsigned i = 0; i < n; i++) {
        put_vm(out, "vm_guest_pressure_ratio", &vms[i], NULL, NULL);
        put_fraction(out, MIN_OF(vms[i].stats.some10, PERMYRIAD_ONE), PERMYRIAD_ONE, 4);
    }
}

/* One series for each VM, of the word that holds: one for each word would be 15 more for each VM. */
static void put_words(GString *out, const struct vm_view *vms, unsigned n)
{
    put_head(out, "vm_state", "gauge", "1 for the state that the VM is in, org.vmtide.Host1.VM's State.");
    for (unsigned i = 0; i < n; i++) {
        put_vm(out, "vm_state", &vms[i], "state", vm_life_to_string(vms[i].life));
        put_number(out, 1);
    }
    put_head(out, "vm_level", "gauge", "1 for the level that the guest says it is at.");
    for (unsigned i = 0; i < n; i++) {
        if (vms[i].stats.time == 0)
            continue;
        put_vm(out, "vm_level", &vms[i], "level", channel_level_to_string(vms[i].stats.level));
        put_number(out, 1);
    }
}

static void put_refusals(GString *out, const struct vm_view *vms, unsigned n)
{
    put_head(out, "vm_refusals_total", "counter", "Requests of the guest that were refused, by code.");
    for (unsigned i = 0; i < n; i++)
        for (int code = 0; code <= CHANNEL_CODE_INVALID; code++) {
            put_vm(out, "vm_refusals_total", &vms[i], "code",
                    channel_code_to_string((enum channel_code)code));
            put_number(out, vms[i].counters->refusals[code]);
        }
}

void metrics_text(GString *out, const struct host_view *host, const struct histogram *grants,
        const struct vm_view *vms, unsigned n_vms)
{
    put_host(out, host);
    put_histogram(out, grants);
    put_numbers(out, vms, n_vms);
    put_others(out, vms, n_vms);
    put_words(out, vms, n_vms);
    put_refusals(out, vms, n_vms);
}

static int parse_port(const char *text, in_port_t *ret)
{
    unsigned long port = 0;

    for (const char *p = text; *p != '\0'; p++) {
        if (!g_ascii_isdigit(*p) || port > UINT16_MAX)
            return -EINVAL;
        port = port * 10 + (unsigned long)(*p - '0');
    }
    if (port == 0 || port > UINT16_MAX)
        return -EINVAL;
    *ret = htons((in_port_t)port);
    return 0;
}

int metrics_parse_address(const char *text, struct sockaddr_storage *ret, bool *ret_local)
{
    struct sockaddr_in four = { .sin_family = AF_INET };
    struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
    const char *colon = strrchr(text, ':');
    g_autofree char *host = colon ? g_strndup(text, (gsize)(colon - text)) : NULL;
    bool bracketed = host && host[0] == '[' && g_str_has_suffix(host, "]");
    in_port_t port;

    if (!colon || parse_port(colon + 1, &port) < 0)
        return -EINVAL;
    if (bracketed)
        host[strlen(host) - 1] = '\0';
    if (!bracketed && inet_pton(AF_INET, host, &four.sin_addr) == 1) {
        four.sin_port = port;
        *ret = (struct sockaddr_storage){ 0 };
        memcpy(ret, &four, sizeof(four));
        *ret_local = (ntohl(four.sin_addr.s_addr) >> 24) == 127;
        return 0;
    }
    if (!bracketed || inet_pton(AF_INET6, host + 1, &six.sin6_addr) != 1)
        return -EINVAL;
    six.sin6_port = port;
    *ret = (struct sockaddr_storage){ 0 };
    memcpy(ret, &six, sizeof(six));
    *ret_local = IN6_IS_ADDR_LOOPBACK(&six.sin6_addr);
    return 0;
}
