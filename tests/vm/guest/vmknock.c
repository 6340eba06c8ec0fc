/* SPDX-License-Identifier: MIT */
/* Connects over vsock from whatever port the kernel gives, as any program in a guest may, says hello, and
 * tells whether somebody answered: vmknock CID PORT TIMES. */
#include <sys/socket.h>

#include <err.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MSEC 2000

static const char hello[] =
        "{\"op\":\"hello\",\"v\":1,\"agent\":\"knock\",\"boot_id\":\"x\",\"boot_size\":1,"
        "\"memory_block_size\":134217728}\n{\"op\":\"resize\",\"id\":1,\"size\":1073741824}\n";

static int knock(unsigned cid, unsigned port)
{
    struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char buf[64];
    ssize_t n = -1;

    if (fd < 0)
        err(EXIT_FAILURE, "socket");
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0) {
        (void)send(fd, hello, strlen(hello), MSG_NOSIGNAL);
        if (poll(&p, 1, WAIT_MSEC) == 0)
            errx(EXIT_FAILURE, "neither answered nor closed in %d ms", WAIT_MSEC);
        n = recv(fd, buf, sizeof(buf), 0);
    }
    close(fd);
    return n > 0;
}

int main(int argc, char **argv)
{
    unsigned answered = 0, times;

    if (argc != 4)
        errx(EXIT_FAILURE, "usage: vmknock CID PORT TIMES");
    times = (unsigned)atoi(argv[3]);
    for (unsigned i = 0; i < times; i++)
        answered += (unsigned)knock((unsigned)atoi(argv[1]), (unsigned)atoi(argv[2]));
    printf("%u of %u answered\n", answered, times);
    return EXIT_SUCCESS;
}
