/* SPDX-License-Identifier: MIT */

/* A tree of files for the benches: "vmtree write|read|delete FOLDER BYTES". The three agree on the layout, so
 * that a read finds what a write has left, and checks it. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PER_FOLDER 64U
#define CHUNK (64U * 1024)
#define PATH_SIZE 4096U

/* Sizes as a source tree with its objects has them: many small files, and most bytes in few large ones. */
static const uint32_t sizes[] = { 8U << 10, 16U << 10, 64U << 10, 8U << 10, 256U << 10, 16U << 10, 1U << 20,
    4U << 20 };

typedef int (*file_fn)(const char *path, uint32_t size, uint64_t number);

static unsigned char chunk[CHUNK];

static int write_file(const char *path, uint32_t size, uint64_t number)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), r = 0;

    if (fd < 0)
        return -errno;
    memset(chunk, (int)(number % 251), sizeof(chunk));
    for (uint32_t done = 0; r == 0 && done < size;) {
        size_t length = size - done < CHUNK ? size - done : CHUNK;
        ssize_t n = write(fd, chunk, length);

        if (n < 0)
            r = -errno;
        else
            done += (uint32_t)n;
    }
    if (close(fd) < 0 && r == 0)
        r = -errno;
    return r;
}

static int read_file(const char *path, uint32_t size, uint64_t number)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
    uint32_t done = 0;

    if (fd < 0)
        return -errno;
    while (r == 0) {
        ssize_t n = read(fd, chunk, sizeof(chunk));

        if (n < 0)
            r = -errno;
        if (n <= 0)
            break;
        if (chunk[0] != number % 251 || chunk[n - 1] != number % 251)
            r = -EBADMSG;
        done += (uint32_t)n;
    }
    close(fd);
    return r < 0 ? r : done == size ? 0 : -EBADMSG;
}

static int delete_file(const char *path, uint32_t size, uint64_t number)
{
    return unlink(path) < 0 ? -errno : 0;
}

/* Folders are made when their first file is due, and removed after the last one. */
static int walk(const char *top, uint64_t bytes, file_fn act)
{
    uint64_t done = 0, number = 0;
    char folder[PATH_SIZE], path[PATH_SIZE + 32];
    int r = 0;

    if (act == write_file && mkdir(top, 0755) < 0 && errno != EEXIST)
        return -errno;
    while (r == 0 && done < bytes) {
        uint32_t size = sizes[number % (sizeof(sizes) / sizeof(sizes[0]))];

        snprintf(folder, sizeof(folder), "%s/%" PRIu64, top, number / PER_FOLDER);
        if (act == write_file && number % PER_FOLDER == 0 && mkdir(folder, 0755) < 0 && errno != EEXIST)
            return -errno;
        snprintf(path, sizeof(path), "%s/%" PRIu64, folder, number);
        r = act(path, size, number);
        done += size;
        number++;
        if (r == 0 && act == delete_file && (number % PER_FOLDER == 0 || done >= bytes) && rmdir(folder) < 0)
            r = -errno;
    }
    if (r == 0 && act == delete_file && rmdir(top) < 0)
        r = -errno;
    return r;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        file_fn act;
    } verbs[] = { { "write", write_file }, { "read", read_file }, { "delete", delete_file } };

    for (size_t i = 0; argc == 4 && i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (strcmp(argv[1], verbs[i].name) == 0) {
            int r = walk(argv[2], strtoull(argv[3], NULL, 10), verbs[i].act);

            if (r < 0)
                fprintf(stderr, "vmtree: %s: %s\n", argv[1], strerror(-r));
            return r < 0;
        }
    fprintf(stderr, "usage: vmtree write|read|delete FOLDER BYTES\n");
    return 2;
}
