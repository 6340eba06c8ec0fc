/* SPDX-License-Identifier: MIT */

/* Kills a process when memory is half plugged: vmkill PID above|below TOTAL
 *
 * Looks at MemTotal without pause (a file that is read, and no process started), since plugging 1 GiB takes
 * 70 ms. Says "watching", then "killed at TOTAL" with what there was after that, or ends with 1 after 60 s.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define WAIT_SECONDS 60

static uint64_t mem_total(int fd)
{
    char text[128] = "";

    if (pread(fd, text, sizeof(text) - 1, 0) <= 0 || strncmp(text, "MemTotal:", 9) != 0)
        exit(2);
    return strtoull(text + 9, NULL, 10) * 1024;
}

int main(int argc, char **argv)
{
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    time_t end = time(NULL) + WAIT_SECONDS;
    uint64_t line, total;
    bool above;
    pid_t pid;

    if (argc != 4 || fd < 0) {
        fprintf(stderr, "usage: vmkill PID above|below TOTAL\n");
        return 2;
    }
    pid = atoi(argv[1]);
    above = strcmp(argv[2], "above") == 0;
    line = strtoull(argv[3], NULL, 10);
    (void)mlockall(MCL_CURRENT);
    puts("watching");
    fflush(stdout);
    do {
        total = mem_total(fd);
        if (time(NULL) > end)
            return 1;
    } while (above ? total <= line : total >= line);
    if (pid <= 1 || kill(pid, SIGKILL) < 0)
        return 2;
    total = mem_total(fd);
    printf("killed at %" PRIu64 "\n", total);
    return 0;
}
