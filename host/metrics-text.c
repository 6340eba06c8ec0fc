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

static void put_host_number(GString *out, const char *name, const char *help, uint64_t value)
{
    put_head(out, name, "gauge", help);
    g_string_append_printf(out, "vmtide_%s ", name);
    put_number(out, value);
}

static void put_host(GString *out, const struct host_view *h)
{
    put_head(out, "build_info", "gauge", "The daemon's version.");
    g_string_append(out, "vmtide_build_info{version=\"" VMTIDE_VERSION "\"} 1\n");
    if (h->total > 0) {
        put_host_number(out, "host_memory_total_bytes", "Memory of the host.", h->total);
        put_host_number(out, "host_memory_available_bytes",
                "Memory of the host that is available (MemAvailable).", h->available);
    }
    put_host_number(
            out, "host_memory_reserve_bytes", "Memory of the host that is never granted.", h->reserve);
    put_host_number(
            out, "host_memory_promised_bytes", "Granted to VMs and not touched by them yet.", h->promised);
    put_host_number(out, "host_overcommit", "Whether what was promised may be granted again (OverCommit=).",
            h->over_commit);
    put_host_number(out, "vms", "VMs that are served.", h->vms);
    if (!h->pressure_known)
        return;
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

/* When there is a number to show: a sample that is left out says that it is not known, a 0 would not. */
enum known {
    KNOWN_ALWAYS,
    KNOWN_OF_QEMU,  /* when QEMU has said it */
    KNOWN_OF_GUEST, /* when the guest has said it */
    KNOWN_NOT_ZERO,
};

struct family {
    const char *name;
    const char *type;
    const char *help;
    enum known known;
    size_t offset; /* of a uint64_t in struct vm_view, or in its counters; unless there is put */
    bool counter;
    void (*put)(GString *out, const struct family *f, const struct vm_view *v);
};

static void put_vm(
        GString *out, const struct family *f, const struct vm_view *v, const char *key, const char *value)
{
    g_string_append_printf(out, "vmtide_%s{", f->name);
    put_label(out, "vm", v->name);
    if (key) {
        g_string_append_c(out, ',');
        put_label(out, key, value);
    }
    g_string_append(out, "} ");
}

static void put_weight(GString *out, const struct family *f, const struct vm_view *v)
{
    put_vm(out, f, v, NULL, NULL);
    put_number(out, v->weight);
}

static void put_paused(GString *out, const struct family *f, const struct vm_view *v)
{
    put_vm(out, f, v, NULL, NULL);
    put_number(out, v->paused_until > 0);
}

static void put_pressure(GString *out, const struct family *f, const struct vm_view *v)
{
    put_vm(out, f, v, NULL, NULL);
    put_fraction(out, MIN_OF(v->stats.some10, PERMYRIAD_ONE), PERMYRIAD_ONE, 4);
}

/* One series for each VM, of the word that holds: one for each word would be 15 more for each VM. */
static void put_state(GString *out, const struct family *f, const struct vm_view *v)
{
    put_vm(out, f, v, "state", vm_life_to_string(v->life));
    put_number(out, 1);
}

static void put_level(GString *out, const struct family *f, const struct vm_view *v)
{
    put_vm(out, f, v, "level", channel_level_to_string(v->stats.level));
    put_number(out, 1);
}

static void put_refusals(GString *out, const struct family *f, const struct vm_view *v)
{
    for (int code = 0; code <= CHANNEL_CODE_INVALID; code++) {
        put_vm(out, f, v, "code", channel_code_to_string((enum channel_code)code));
        put_number(out, v->counters->refusals[code]);
    }
}

#define GAUGE(name, field, known, help)                                                                      \
    {                                                                                                        \
        name, "gauge", help, known, offsetof(struct vm_view, field), false, NULL                             \
    }
#define COUNTER(name, field, help)                                                                           \
    {                                                                                                        \
        name, "counter", help, KNOWN_ALWAYS, offsetof(struct vm_counters, field), true, NULL                 \
    }
#define OTHER(name, type, known, put, help)                                                                  \
    {                                                                                                        \
        name, type, help, known, 0, false, put                                                               \
    }
static const struct family families[] = {
    GAUGE("vm_size_bytes", size, KNOWN_OF_QEMU, "Plugged memory of the VM's virtio-mem devices."),
    GAUGE("vm_requested_size_bytes", requested_size, KNOWN_OF_QEMU,
            "What the devices were told; the size follows it."),
    GAUGE("vm_boot_size_bytes", boot_size, KNOWN_OF_QEMU, "Memory that the VM has besides."),
    GAUGE("vm_min_size_bytes", min_size, KNOWN_ALWAYS, "The min size in force."),
    GAUGE("vm_max_size_bytes", max_size, KNOWN_ALWAYS, "The max size in force."),
    GAUGE("vm_held_bytes", held, KNOWN_NOT_ZERO, "Resident memory of the VM's QEMU when last read."),
    GAUGE("vm_guest_available_bytes", stats.available, KNOWN_OF_GUEST,
            "Memory that the guest says is available in it."),
    GAUGE("vm_guest_total_bytes", stats.total, KNOWN_OF_GUEST, "Memory that the guest says it has."),
    COUNTER("vm_grants_total", grants, "Requests of the guest that were granted."),
    COUNTER("vm_stalls_total", stalls, "Times that a change made no progress and was set again."),
    COUNTER("vm_unstuck_total", unstuck, "Shrinks that got stuck and were ended."),
    COUNTER("vm_shrink_requests_total", shrinks, "Times that the guest was asked to give memory back."),
    COUNTER("vm_shrinks_declined_total", declined, "Times that it declined."),
    COUNTER("vm_bad_lines_total", bad_lines, "Lines of the guest that were no messages."),
    COUNTER("vm_qemu_connections_lost_total", qemu_lost, "Connections to the VM's QEMU that were lost."),
    OTHER("vm_weight", "gauge", KNOWN_ALWAYS, put_weight,
            "What the VM gets beside others when there is not enough."),
    OTHER("vm_paused", "gauge", KNOWN_ALWAYS, put_paused, "Whether an administrator has paused the VM."),
    OTHER("vm_guest_pressure_ratio", "gauge", KNOWN_OF_GUEST, put_pressure,
            "Share of the last 10 s that some task of the guest waited for memory, as it says."),
    OTHER("vm_state", "gauge", KNOWN_ALWAYS, put_state,
            "1 for the state that the VM is in, org.vmtide.Host1.VM's State."),
    OTHER("vm_level", "gauge", KNOWN_OF_GUEST, put_level, "1 for the level that the guest says it is at."),
    OTHER("vm_refusals_total", "counter", KNOWN_ALWAYS, put_refusals,
            "Requests of the guest that were refused, by code."),
};

static uint64_t value_of(const struct family *f, const struct vm_view *v)
{
    const char *base = f->counter ? (const char *)v->counters : (const char *)v;

    return *(const uint64_t *)(const void *)(base + f->offset);
}

static bool is_known(const struct family *f, const struct vm_view *v)
{
    switch (f->known) {
    case KNOWN_ALWAYS:
        return true;
    case KNOWN_OF_QEMU:
        return v->life != VM_LIFE_NO_QEMU && v->life != VM_LIFE_NO_NUMBERS;
    case KNOWN_OF_GUEST:
        return v->stats.time > 0;
    case KNOWN_NOT_ZERO:
        return value_of(f, v) > 0;
    }
    return false;
}

struct metrics_text {
    char **names;
    unsigned at;
    GString *host;
    GString *vms[ELEMENTSOF(families)];
};

static void add_vm(struct metrics_text *t, const struct vm_view *v)
{
    for (size_t i = 0; i < ELEMENTSOF(families); i++) {
        const struct family *f = &families[i];

        if (!is_known(f, v))
            continue;
        if (f->put) {
            f->put(t->vms[i], f, v);
            continue;
        }
        put_vm(t->vms[i], f, v, NULL, NULL);
        put_number(t->vms[i], value_of(f, v));
    }
}

struct metrics_text *metrics_text_begin(
        const struct host_view *host, const struct histogram *grants, char **names)
{
    struct metrics_text *t = g_new0(struct metrics_text, 1);

    t->names = names;
    t->host = g_string_new(NULL);
    put_host(t->host, host);
    put_histogram(t->host, grants);
    for (size_t i = 0; i < ELEMENTSOF(families); i++) {
        t->vms[i] = g_string_new(NULL);
        put_head(t->vms[i], families[i].name, families[i].type, families[i].help);
    }
    return t;
}

bool metrics_text_step(struct metrics_text *t, metrics_find_t find, void *userdata)
{
    for (unsigned i = 0; i < METRICS_STEP && t->names[t->at]; i++, t->at++) {
        struct vm_view v;

        if (find(t->names[t->at], &v, userdata))
            add_vm(t, &v);
    }
    return !t->names[t->at];
}

struct metrics_text *metrics_text_free(struct metrics_text *t)
{
    if (!t)
        return NULL;
    g_strfreev(t->names);
    (void)g_string_free(t->host, TRUE);
    for (size_t i = 0; i < ELEMENTSOF(families); i++)
        (void)g_string_free(t->vms[i], TRUE);
    g_free(t);
    return NULL;
}

unsigned metrics_text_parts(const struct metrics_text *t)
{
    return 1 + ELEMENTSOF(families);
}

const GString *metrics_text_part(const struct metrics_text *t, unsigned i)
{
    return i == 0 ? t->host : t->vms[i - 1];
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
