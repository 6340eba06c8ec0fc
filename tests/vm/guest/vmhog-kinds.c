/* SPDX-License-Identifier: MIT */

/* The kinds of memory that vmhog takes. Mappings are reserved like those of any program, so the guest's
 * overcommit policy applies to them; only the mapping of KIND_TABLES, which is far larger than memory, is
 * not. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmhog-kinds.h"

#define PAGE 4096U
#define SMALL_CHUNK (64U * 1024)
#define READ_CHUNK (16U * 1024 * 1024)
#define LARGE_CHUNK (64U * 1024 * 1024)
#define PIPE_SIZE (1024U * 1024)          /* default of fs.pipe-max-size */
#define SOCKET_BUFFER (4 * 1024 * 1024)   /* doubled by the kernel for its own overhead */
#define TABLE_SPAN (2U * 1024 * 1024)     /* address space of one page table */
#define SPARSE_PIECE (256U * 1024 * 1024) /* below MemTotal of the smallest guest */
#define TABLE_COST (2 * PAGE)             /* the table and the page that is touched */

static const char *const kind_names[_KIND_MAX] = {
    [KIND_ANON] = "anon",
    [KIND_ANON4K] = "anon4k",
    [KIND_POPULATE] = "populate",
    [KIND_READ] = "read",
    [KIND_MLOCK] = "mlock",
    [KIND_TMPFS] = "tmpfs",
    [KIND_FALLOCATE] = "fallocate",
    [KIND_FILE] = "file",
    [KIND_PIPE] = "pipe",
    [KIND_UNIX] = "unix",
    [KIND_TABLES] = "tables",
};

static char pattern[SMALL_CHUNK];

void prepare_pattern(void)
{
    memset(pattern, 1, sizeof(pattern));
}

enum kind kind_from_name(const char *name)
{
    for (int i = 0; i < _KIND_MAX; i++)
        if (strcmp(name, kind_names[i]) == 0)
            return (enum kind)i;
    return _KIND_INVALID;
}

size_t kind_chunk(enum kind kind)
{
    switch (kind) {
    case KIND_POPULATE:
    case KIND_FALLOCATE:
        return LARGE_CHUNK;
    case KIND_READ:
        return READ_CHUNK;
    case KIND_ANON:
    case KIND_ANON4K:
    case KIND_MLOCK:
    case KIND_TMPFS:
    case KIND_FILE:
    case KIND_PIPE:
    case KIND_UNIX:
    case KIND_TABLES:
    case _KIND_MAX:
    case _KIND_INVALID:
        break;
    }
    return SMALL_CHUNK;
}

bool kind_needs_files(enum kind kind)
{
    return kind == KIND_PIPE || kind == KIND_UNIX;
}

static int map_memory(struct worker *w, uint64_t bytes, int protection)
{
    void *p = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return -errno;
    w->memory = p;
    w->mapped = bytes;
    return 0;
}

/* EINVAL: the kernel has no huge pages. */
static int want_small_pages(struct worker *w)
{
    return madvise(w->memory, w->mapped, MADV_NOHUGEPAGE) < 0 && errno != EINVAL ? -errno : 0;
}

static int map_small_pages(struct worker *w, uint64_t bytes)
{
    int r = map_memory(w, bytes, PROT_READ | PROT_WRITE);

    return r < 0 ? r : want_small_pages(w);
}

/* Far more address space than there is memory. The kernel's overcommit check refuses one request above
 * MemTotal, so the memory is made writable piece by piece, as a heap grows. */
static int map_sparse(struct worker *w, uint64_t bytes)
{
    int r = map_memory(w, bytes, PROT_NONE);

    for (uint64_t at = 0; r >= 0 && at < bytes; at += SPARSE_PIECE) {
        uint64_t left = bytes - at;

        if (mprotect(w->memory + at, left < SPARSE_PIECE ? left : SPARSE_PIECE, PROT_READ | PROT_WRITE) < 0)
            r = -errno;
    }
    return r < 0 ? r : want_small_pages(w);
}

static int open_shared(struct worker *w)
{
    w->fd = memfd_create("vmhog", MFD_CLOEXEC);
    return w->fd < 0 ? -errno : 0;
}

static int open_zero(struct worker *w)
{
    w->fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    return w->fd < 0 ? -errno : map_memory(w, w->bytes, PROT_READ | PROT_WRITE);
}

/* A folder gets a file of our own, which is gone when we are; a file is read. */
static int open_file(struct worker *w, const char *folder, unsigned index)
{
    char path[4096];
    struct stat st;

    if (stat(folder, &st) < 0)
        return -errno;
    w->reading = !S_ISDIR(st.st_mode);
    if (w->reading) {
        w->fd = open(folder, O_RDONLY | O_CLOEXEC);
        return w->fd < 0 ? -errno : 0;
    }
    snprintf(path, sizeof(path), "%s/vmhog.%d.%u", folder, (int)getpid(), index);
    w->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (w->fd < 0)
        return -errno;
    return unlink(path) < 0 ? -errno : 0;
}

int worker_prepare(struct worker *w, const char *path, unsigned index)
{
    switch (w->kind) {
    case KIND_ANON:
    case KIND_MLOCK:
        return map_memory(w, w->bytes, PROT_READ | PROT_WRITE);
    case KIND_ANON4K:
        return map_small_pages(w, w->bytes);
    case KIND_POPULATE:
        return map_memory(w, w->bytes, PROT_NONE); /* only address space */
    case KIND_READ:
        return open_zero(w);
    case KIND_TMPFS:
    case KIND_FALLOCATE:
        return open_shared(w);
    case KIND_FILE:
        return open_file(w, path, index);
    case KIND_PIPE:
    case KIND_UNIX:
        return 0;
    case KIND_TABLES:
        return map_sparse(w, (w->bytes / TABLE_COST + 1) * TABLE_SPAN);
    case _KIND_MAX:
    case _KIND_INVALID:
        break;
    }
    return -EINVAL;
}

static int write_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        length -= (size_t)n;
    }
    return 0;
}

/* The pipes stay open until the process ends. */
static int fill_pipe(struct worker *w, size_t length)
{
    int fds[2];

    if (w->touched % PIPE_SIZE == 0) {
        if (pipe2(fds, O_CLOEXEC) < 0 || fcntl(fds[1], F_SETPIPE_SZ, PIPE_SIZE) < 0)
            return -errno;
        w->fd = fds[1];
    }
    return write_all(w->fd, pattern, length);
}

static int open_sockets(struct worker *w)
{
    const int size = SOCKET_BUFFER;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return -errno;
    /* Without CAP_NET_ADMIN the buffer keeps its default size, and more sockets are needed. */
    (void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    w->fd = fds[1];
    return 0;
}

/* No process reads from the sockets: when a buffer is full, the next pair is opened. */
static int fill_sockets(struct worker *w, size_t length)
{
    while (length > 0) {
        ssize_t n;
        int r;

        n = w->fd < 0 ? -1 : write(w->fd, pattern, length);
        if (n >= 0) {
            length -= (size_t)n;
            continue;
        }
        if (w->fd >= 0 && errno == EINTR)
            continue;
        if (w->fd >= 0 && errno != EAGAIN)
            return -errno;
        r = open_sockets(w);
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_all(int fd, char *to, size_t length)
{
    while (length > 0) {
        ssize_t n = read(fd, to, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENODATA;
        to += n;
        length -= (size_t)n;
    }
    return 0;
}

static int read_file(struct worker *w, size_t length)
{
    ssize_t n = read(w->fd, pattern, length);

    if (n == 0)
        return lseek(w->fd, 0, SEEK_SET) < 0 ? -errno : 0;
    return n < 0 ? -errno : 0;
}

static void touch_pages(char *from, size_t length)
{
    for (size_t i = 0; i < length; i += PAGE)
        *(volatile char *)(from + i) = 1;
}

static void touch_tables(struct worker *w, size_t length)
{
    for (uint64_t i = w->touched / TABLE_COST; i < (w->touched + length) / TABLE_COST; i++)
        *(volatile char *)(w->memory + i * TABLE_SPAN) = 1;
}

static int allocate(struct worker *w, size_t length)
{
    while (fallocate(w->fd, 0, (off_t)w->touched, (off_t)length) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static int populate(char *at, size_t length)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE;

    return mmap(at, length, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED ? -errno : 0;
}

int worker_take(struct worker *w, size_t length)
{
    switch (w->kind) {
    case KIND_ANON:
    case KIND_ANON4K:
        touch_pages(w->memory + w->touched, length);
        return 0;
    case KIND_POPULATE:
        return populate(w->memory + w->touched, length);
    case KIND_READ:
        return read_all(w->fd, w->memory + w->touched, length);
    case KIND_MLOCK:
        return mlock(w->memory + w->touched, length) < 0 ? -errno : 0;
    case KIND_TMPFS:
        return write_all(w->fd, pattern, length);
    case KIND_FALLOCATE:
        return allocate(w, length);
    case KIND_FILE:
        return w->reading ? read_file(w, length) : write_all(w->fd, pattern, length);
    case KIND_PIPE:
        return fill_pipe(w, length);
    case KIND_UNIX:
        return fill_sockets(w, length);
    case KIND_TABLES:
        touch_tables(w, length);
        return 0;
    case _KIND_MAX:
    case _KIND_INVALID:
        break;
    }
    return -EINVAL;
}

void worker_release(struct worker *w)
{
    if (w->memory)
        munmap(w->memory, w->mapped);
    if (w->fd >= 0)
        close(w->fd);
}
