/* SPDX-License-Identifier: MIT */
/* Stands in for libFuzzer in ordinary builds: runs the target on each file of a corpus. */
#include "fuzz.h"

static int run_file(const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    gsize size;

    if (!g_file_get_contents(path, &text, &size, &error)) {
        (void)fprintf(stderr, "%s\n", error->message);
        return -EIO;
    }
    (void)LLVMFuzzerTestOneInput((const uint8_t *)text, size);
    return 0;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) folder = argc == 2 ? g_dir_open(argv[1], 0, &error) : NULL;
    const char *name;
    unsigned n = 0;

    if (!folder) {
        (void)fprintf(stderr, "%s\n", error ? error->message : "one folder is wanted");
        return 2;
    }
    while ((name = g_dir_read_name(folder))) {
        g_autofree char *path = g_build_filename(argv[1], name, NULL);

        if (run_file(path) < 0)
            return 1;
        n++;
    }
    if (n == 0)
        (void)fprintf(stderr, "%s: no file\n", argv[1]);
    return n == 0;
}
