/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <ftw.h>
#include <sys/mman.h>

int fuzz_file(const uint8_t *data, size_t size, char ret_path[static 64])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    FUZZ_CHECK(fd >= 0);
    FUZZ_CHECK(write(fd, data, size) == (ssize_t)size);
    (void)snprintf(ret_path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

static char folder[] = "/tmp/vmtide-fuzz-XXXXXX";

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void remove_folder(void)
{
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

char *fuzz_in_folder(const char *name)
{
    static bool made;

    if (!made) {
        FUZZ_CHECK(mkdtemp(folder));
        (void)atexit(remove_folder);
        made = true;
    }
    return g_build_filename(folder, name, NULL);
}

void fuzz_make_file(const char *name, const char *text)
{
    g_autofree char *path = fuzz_in_folder(name), *parent = g_path_get_dirname(path);

    FUZZ_CHECK(g_mkdir_with_parents(parent, 0755) == 0 && g_file_set_contents(path, text, -1, NULL));
}
