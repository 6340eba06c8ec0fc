/* SPDX-License-Identifier: MIT */
#include "qemu-process.h"

#include <fcntl.h>
#include <stdlib.h>

#include "bytes.h"
#include "fields.h"
#include "procfile.h"

/* The mapped program and its libraries have some 40 MiB: below this limit the cgroup is not read. */
#define SHARED_LEAST MIB(64)
/* memory.stat has some 60 lines of 30 bytes. */
#define STAT_MAX (16UL * 1024)
#define PATH_SIZE 4096u
#define SCOPE_PREFIX "/machine.slice/machine-qemu"
#define SCOPE_SUFFIX ".scope"

struct qemu_process {
    pid_t pid;
    char *procfs;
    char *cgroups;
    int statm_fd;
};

int qemu_process_open(const char *procfs, const char *cgroups, pid_t pid, struct qemu_process **ret)
{
    _cleanup_close_ int fd = -EBADF;
    struct qemu_process *p;
    char path[256];
    int n = snprintf(path, sizeof(path), "%s/%ld/statm", procfs, (long)pid);

    if (pid <= 0)
        return -ESRCH;
    if (n < 0 || (size_t)n >= sizeof(path))
        return -ENAMETOOLONG;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->pid = pid;
    p->statm_fd = TAKE_FD(fd);
    p->procfs = strdup(procfs);
    p->cgroups = strdup(cgroups);
    if (!p->procfs || !p->cgroups) {
        qemu_process_close(p);
        return -ENOMEM;
    }
    *ret = p;
    return 0;
}

struct qemu_process *qemu_process_close(struct qemu_process *p)
{
    if (!p)
        return NULL;
    closep(&p->statm_fd);
    free(p->procfs);
    free(p->cgroups);
    free(p);
    return NULL;
}

pid_t qemu_process_pid(const struct qemu_process *p)
{
    return p ? p->pid : 0;
}

static int read_at(int folder_fd, const char *name, char *buf, size_t size)
{
    _cleanup_close_ int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC);
    size_t len;

    return fd < 0 ? -errno : procfile_read_fd(fd, buf, size, &len);
}

/* Finds the value in the line "NAME VALUE". -ENOENT: no such line. */
static int find_value(const char *text, const char *name, uint64_t *ret)
{
    size_t len = strlen(name);

    while (*text != '\0') {
        const char *end = strchrnul(text, '\n'), *p = text + len + 1;

        if (strncmp(text, name, len) == 0 && text[len] == ' ')
            return fields_number(&p, ret) < 0 || p != end ? -EBADMSG : 0;
        text = *end == '\n' ? end + 1 : end;
    }
    return -ENOENT;
}

/* The path of the process in cgroup v2, from the line "0::PATH". */
static int find_path(char *text, char **ret)
{
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (strncmp(line, "0::/", 4) != 0)
            continue;
        *ret = line + 3;
        /* The root cgroup belongs to no process alone. Outside of this cgroup namespace a path has "/..". */
        return streq(*ret, "/") || strstr(*ret, "/..") ? -EXDEV : 0;
    }
    return -ENOENT;
}

/* Cuts a path below the scope of a libvirt VM to that scope. Only root creates cgroups in machine.slice. */
static bool cut_to_scope(char *path)
{
    char *end;

    if (strncmp(path, SCOPE_PREFIX, strlen(SCOPE_PREFIX)) != 0)
        return false;
    end = strchrnul(path + strlen(SCOPE_PREFIX), '/');
    if (end - path < (ptrdiff_t)strlen(SCOPE_SUFFIX) ||
            strncmp(end - strlen(SCOPE_SUFFIX), SCOPE_SUFFIX, strlen(SCOPE_SUFFIX)) != 0)
        return false;
    *end = '\0';
    return true;
}

static bool is_alone(const struct qemu_process *p, int cgroup_fd)
{
    char procs[32], wanted[32], stat[1024];
    uint64_t below;

    (void)snprintf(wanted, sizeof(wanted), "%ld\n", (long)p->pid);
    return read_at(cgroup_fd, "cgroup.procs", procs, sizeof(procs)) >= 0 && streq(procs, wanted) &&
           read_at(cgroup_fd, "cgroup.stat", stat, sizeof(stat)) >= 0 &&
           find_value(stat, "nr_descendants", &below) >= 0 && below == 0;
}

/* Opens the cgroup each time, since root may move this process, or others to its cgroup. */
static int open_own_cgroup(const struct qemu_process *p)
{
    _cleanup_close_ int fd = -EBADF;
    char text[PATH_SIZE], path[PATH_SIZE], *inside;
    bool scope;
    size_t len;
    int n, r;

    (void)snprintf(path, sizeof(path), "%s/%ld/cgroup", p->procfs, (long)p->pid);
    r = procfile_read(path, text, sizeof(text), &len);
    if (r >= 0)
        r = find_path(text, &inside);
    if (r < 0)
        return r;
    scope = cut_to_scope(inside);
    n = snprintf(path, sizeof(path), "%s%s", p->cgroups, inside);
    if (n < 0 || (size_t)n >= sizeof(path))
        return -ENAMETOOLONG;
    fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return scope || is_alone(p, fd) ? TAKE_FD(fd) : -EXDEV;
}

/* Reads the shared memory (bytes) that the VM's own cgroup is charged for. */
static int read_shmem(const struct qemu_process *p, uint64_t *ret)
{
    _cleanup_close_ int fd = open_own_cgroup(p);
    char stat[STAT_MAX];
    int r = fd < 0 ? fd : read_at(fd, "memory.stat", stat, sizeof(stat));

    return r < 0 ? r : find_value(stat, "shmem", ret);
}

static int pages_to_bytes(uint64_t pages, uint64_t *ret)
{
    return bytes_mul(pages, (uint64_t)sysconf(_SC_PAGESIZE), ret) < 0 ? -EBADMSG : 0;
}

/* "size resident shared …", in pages. */
static int read_statm(const struct qemu_process *p, uint64_t *ret_resident, uint64_t *ret_shared)
{
    unsigned long long size, resident, shared;
    uint64_t bytes, shared_bytes;
    char buf[256];
    size_t len;
    int r = procfile_read_fd(p->statm_fd, buf, sizeof(buf), &len);

    if (r < 0)
        return r;
    if (sscanf(buf, "%llu %llu %llu ", &size, &resident, &shared) != 3)
        return -EBADMSG;
    if (size == 0)
        return -ESRCH;
    /* The kernel does not read its counters at one moment, so shared may exceed resident. */
    r = pages_to_bytes(resident, &bytes);
    if (r >= 0)
        r = pages_to_bytes(MIN_OF(shared, resident), &shared_bytes);
    if (r < 0)
        return r;
    *ret_resident = bytes;
    *ret_shared = shared_bytes;
    return 0;
}

int qemu_process_read(struct qemu_process *p, struct qemu_memory *ret)
{
    uint64_t resident, shared, charged = 0;
    int r = read_statm(p, &resident, &shared);

    if (r >= 0 && shared >= SHARED_LEAST) {
        if (read_shmem(p, &charged) < 0)
            charged = 0;
        /* A readable statm shows that the PID still belonged to this process when the cgroup was read. */
        r = read_statm(p, &resident, &shared);
    }
    if (r < 0)
        return r;
    charged = MIN_OF(charged, shared);
    *ret = (struct qemu_memory){
        .resident = resident,
        .touched = resident - shared + charged,
        .doubtful = shared >= SHARED_LEAST ? shared - charged : 0,
    };
    return 0;
}
