/* SPDX-License-Identifier: MIT */
/* The facts that the rows of doctor-memory.c are judged by. */
#include <glib.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <sys/vfs.h>

#include "bytes.h"
#include "doctor-probe.h"
#include "names.h"
#include "procfile.h"
#include "zoneinfo.h"

#define CGROUPS "sys/fs/cgroup"
/* A tmpfs of which more than 7 in 8 bytes are used is nearly full. */
#define FULL_PART 8u

static char *path_in(const char *root, const char *path)
{
    return g_build_filename(root ?: "/", path, NULL);
}

/* NULL when it cannot be read. */
static char *read_text(const char *root, const char *path)
{
    g_autofree char *full = path_in(root, path), *text = g_malloc(PROCFILE_MAX);
    size_t len;

    return procfile_read(full, text, PROCFILE_MAX, &len) < 0 ? NULL : TAKE_PTR(text);
}

/* "a, b, c"; what does not fit is left out, and "…" says so. */
static void append_name(char list[static DOCTOR_NAMES_MAX], const char *format, ...) _printf_(2, 3);
static void append_name(char list[static DOCTOR_NAMES_MAX], const char *format, ...)
{
    static const char more[] = ", …";
    size_t len = strlen(list);
    char name[DOCTOR_NAMES_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    if (g_str_has_suffix(list, more))
        return;
    if (len + strlen(", ") + strlen(name) + sizeof(more) <= DOCTOR_NAMES_MAX)
        (void)snprintf(list + len, DOCTOR_NAMES_MAX - len, "%s%s", len > 0 ? ", " : "", name);
    else if (len > 0)
        (void)snprintf(list + len, DOCTOR_NAMES_MAX - len, "%s", more);
}

static void probe_overcommit(const char *root, struct doctor_memory *m)
{
    g_autofree char *path = path_in(root, "proc/sys/vm/overcommit_memory");
    g_autofree char *meminfo = read_text(root, "proc/meminfo");
    const char *line = meminfo ? strstr(meminfo, "\nCommitLimit:") : NULL;
    unsigned long long kib;
    uint64_t value;
    int r = procfile_read_u64(path, 10, &value);

    m->overcommit = r < 0 ? r : value > 2 ? -ERANGE : (int)value;
    if (line && sscanf(line, "\nCommitLimit: %llu kB", &kib) == 1)
        m->limit = kib << 10;
}

static void probe_zones(const char *root, struct doctor_memory *m)
{
    g_autofree char *text = read_text(root, "proc/zoneinfo");
    struct zoneinfo z = { 0 };

    m->zones = text ? zoneinfo_parse(text, (uint64_t)sysconf(_SC_PAGESIZE), &z) : -ENOENT;
    m->movable = z.movable_managed;
    m->reserve = z.kernel_reserve;
}

static void probe_tmpfs(const char *root, struct doctor_memory *m)
{
    static const char *const places[] = { "dev/shm", "tmp", "run" };

    for (size_t i = 0; i < ELEMENTSOF(places); i++) {
        g_autofree char *full = path_in(root, places[i]);
        struct statfs s;

        if (statfs(full, &s) < 0 || s.f_type != TMPFS_MAGIC || s.f_blocks == 0)
            continue;
        append_name(m->tmpfs, "/%s %s", places[i], FORMAT_BYTES((uint64_t)s.f_blocks * (uint64_t)s.f_bsize));
        if (s.f_bfree < s.f_blocks / FULL_PART)
            append_name(
                    m->full, "/%s (%s)", places[i], FORMAT_BYTES((uint64_t)s.f_blocks * (uint64_t)s.f_bsize));
    }
}

static void probe_limited(const char *root, struct doctor_memory *m)
{
    g_autofree char *cgroups = path_in(root, CGROUPS);
    g_autoptr(GDir) dir = g_dir_open(cgroups, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(cgroups, name, "memory.max", NULL);
        uint64_t max;

        /* "max" is no number. The daemons' own slice does not grow. */
        if (!streq(name, "vmtide.slice") && procfile_read_u64(file, 10, &max) >= 0 &&
                max < m->boot_size + m->max_size)
            append_name(m->limited, "%s %s", name, FORMAT_BYTES(max));
    }
}

/* Kernel threads are in the root cgroup too; they have no command line. */
static void probe_process(const char *root, const char *pid, struct doctor_memory *m)
{
    g_autofree char *folder = g_build_filename("proc", pid, NULL);
    g_autofree char *cmdline_path = g_build_filename(folder, "cmdline", NULL);
    g_autofree char *comm_path = g_build_filename(folder, "comm", NULL);
    g_autofree char *cmdline = read_text(root, cmdline_path), *comm = read_text(root, comm_path);

    if (!cmdline || !*cmdline)
        return;
    m->root_processes++;
    append_name(m->root_names, "%s", comm ? g_strchomp(comm) : pid);
}

static void probe_root(const char *root, struct doctor_memory *m)
{
    g_autofree char *text = read_text(root, CGROUPS "/cgroup.procs");
    g_auto(GStrv) pids = text ? g_strsplit(text, "\n", -1) : NULL;

    for (size_t i = 0; pids && pids[i]; i++)
        if (*pids[i])
            probe_process(root, pids[i], m);
}

static void probe_sizes(sd_bus *bus, struct doctor_memory *m)
{
    static const struct {
        const char *property;
        size_t offset;
    } rows[] = {
        { "BootSize", offsetof(struct doctor_memory, boot_size) },
        { "Size", offsetof(struct doctor_memory, size) },
        { "MaxSize", offsetof(struct doctor_memory, max_size) },
    };

    m->sizes = bus != NULL;
    for (size_t i = 0; i < ELEMENTSOF(rows) && m->sizes; i++)
        m->sizes = sd_bus_get_property_trivial(bus, ACTUATOR_NAME, ACTUATOR_PATH, ACTUATOR_INTERFACE,
                           rows[i].property, NULL, 't', (char *)m + rows[i].offset) >= 0;
    /* Without a host there may be no maximum. */
    if (!m->sizes || m->max_size > INT64_MAX - m->boot_size) {
        m->sizes = false;
        m->boot_size = m->size = m->max_size = 0;
    }
}

void doctor_probe_memory(const char *root, sd_bus *bus, struct doctor_memory *ret)
{
    struct doctor_memory m = { 0 };

    probe_sizes(bus, &m);
    probe_overcommit(root, &m);
    probe_zones(root, &m);
    probe_tmpfs(root, &m);
    if (m.sizes)
        probe_limited(root, &m);
    probe_root(root, &m);
    *ret = m;
}
