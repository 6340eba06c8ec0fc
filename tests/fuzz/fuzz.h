/* SPDX-License-Identifier: MIT */
#pragma once

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "macro.h"

/* What libFuzzer calls, or run-corpus.c with the files of a corpus. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every input. */
#define FUZZ_CHECK(condition)                                                                                \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            (void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);             \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* The input as a string (g_free) of just its length, so that a sanitizer sees each byte that is read beyond
 * it. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    return g_strndup((const char *)data, size);
}

/* The input in a file that has no name but this one, for what reads files. -1: none can be made. */
int fuzz_file(const uint8_t *data, size_t size, char ret_path[static 64]);

/* A path in a folder that is made with the first call, and goes with the process; g_free. */
char *fuzz_in_folder(const char *name);
/* A file in it, with the folders that it needs. */
void fuzz_make_file(const char *name, const char *text);
