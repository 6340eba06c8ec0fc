/* SPDX-License-Identifier: MIT */

/* Touches physical memory through /dev/mem, as a guest's root may: vmdevmem ADDRESS BYTES. Says "touched"
 * when each of its pages was written, and holds the mapping until it is killed. */

#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u

int main(int argc, char **argv)
{
    int fd = open("/dev/mem", O_RDWR | O_CLOEXEC);
    size_t size;
    char *memory;

    if (argc != 3)
        errx(2, "usage: vmdevmem ADDRESS BYTES");
    if (fd < 0)
        err(EXIT_FAILURE, "/dev/mem");
    size = strtoul(argv[2], NULL, 0);
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)strtoull(argv[1], NULL, 0));
    if (memory == MAP_FAILED)
        err(EXIT_FAILURE, "mmap of /dev/mem");
    for (size_t i = 0; i < size; i += PAGE)
        *(volatile char *)(memory + i) = 1;
    puts("touched");
    fflush(stdout);
    pause();
    return EXIT_SUCCESS;
}
