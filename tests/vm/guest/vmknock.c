/* SPDX-License-Identifier: MIT */
/* What any program in a guest may do over vsock.
 *
 * vmknock CID PORT TIMES: connects from whatever port the kernel gives, says hello, and tells whether
 * somebody answered. vmknock flood CID PORT SECONDS: connects without pause, 64 at a time, and waits for
 * nobody. vmknock listen PORT: takes whoever comes, and answers as a host would. */
#include <sys/socket.h>
#include <sys/time.h>

#include <err.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MSEC 2000
#define IN_FLIGHT 64
/* The kernel keeps a socket that is closed while it connects until the time-out of connect(2), 2 s if nothing
 * is said (VSOCK_DEFAULT_CONNECT_TIMEOUT): 15,000 of a flood's own, beside which what the listener does would
 * not show. */
#define CONNECT_TIMEOUT_USEC 100000

static const char hello[] =
        "{\"op\":\"hello\",\"v\":1,\"agent\":\"knock\",\"boot_id\":\"x\",\"boot_size\":1,"
        "\"memory_block_size\":134217728}\n{\"op\":\"resize\",\"id\":1,\"size\":1073741824}\n";
static const char welcome[] =
        "{\"op\":\"welcome\",\"v\":1,\"agent\":\"spy\",\"vm\":\"guest\",\"block_size\":2097152,\"size\":0,"
        "\"requested_size\":0,\"min_size\":0,\"max_size\":1073741824}\n";

static unsigned number(const char *text)
{
    return (unsigned)strtoul(text, NULL, 10);
}

static int new_socket(int flags)
{
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

    if (fd < 0)
        err(EXIT_FAILURE, "socket");
    return fd;
}

static int new_flooding_socket(void)
{
    const struct timeval timeout = { .tv_usec = CONNECT_TIMEOUT_USEC };
    int fd = new_socket(SOCK_NONBLOCK);

    if (setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW, &timeout, sizeof(timeout)) < 0)
        err(EXIT_FAILURE, "SO_VM_SOCKETS_CONNECT_TIMEOUT");
    return fd;
}

static int knock(const struct sockaddr_vm *a)
{
    int fd = new_socket(0);
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char buf[64];
    ssize_t n = -1;

    if (connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0) {
        (void)send(fd, hello, strlen(hello), MSG_NOSIGNAL);
        if (poll(&p, 1, WAIT_MSEC) == 0)
            errx(EXIT_FAILURE, "neither answered nor closed in %d ms", WAIT_MSEC);
        n = recv(fd, buf, sizeof(buf), 0);
    }
    close(fd);
    return n > 0;
}

static void flood(const struct sockaddr_vm *a, unsigned seconds)
{
    int fds[IN_FLIGHT];
    unsigned long times = 0;
    time_t end = time(NULL) + seconds;

    memset(fds, -1, sizeof(fds));
    for (; time(NULL) < end; times++) {
        int *fd = &fds[times % IN_FLIGHT];

        if (*fd >= 0)
            close(*fd);
        *fd = new_flooding_socket();
        (void)connect(*fd, (const struct sockaddr *)a, sizeof(*a));
    }
    printf("%lu times\n", times);
}

static void listen_on(unsigned port)
{
    struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port };
    int fd = new_socket(0);

    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 16) < 0)
        err(EXIT_FAILURE, "listen");
    setvbuf(stdout, NULL, _IONBF, 0);
    puts("listening");
    for (;;) {
        socklen_t len = sizeof(a);
        int peer = accept(fd, (struct sockaddr *)&a, &len);

        if (peer < 0)
            err(EXIT_FAILURE, "accept");
        printf("from port %s\n", a.svm_port < 1024 ? "of root" : "of anybody");
        /* It stays open: the actuator would have to find out. */
        (void)send(peer, welcome, strlen(welcome), MSG_NOSIGNAL);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_vm a = { .svm_family = AF_VSOCK };
    unsigned answered = 0, times;

    if (argc == 3 && strcmp(argv[1], "listen") == 0)
        listen_on(number(argv[2]));
    if (argc != 4 && !(argc == 5 && strcmp(argv[1], "flood") == 0))
        errx(EXIT_FAILURE, "usage: vmknock CID PORT TIMES | flood CID PORT SECONDS | listen PORT");
    a.svm_cid = number(argv[argc - 3]);
    a.svm_port = number(argv[argc - 2]);
    times = number(argv[argc - 1]);
    if (argc == 5) {
        flood(&a, times);
        return EXIT_SUCCESS;
    }
    for (unsigned i = 0; i < times; i++)
        answered += (unsigned)knock(&a);
    printf("%u of %u answered\n", answered, times);
    return EXIT_SUCCESS;
}
