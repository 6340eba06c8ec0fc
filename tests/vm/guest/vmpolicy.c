/* SPDX-License-Identifier: MIT */

/* The simple policies that vmtide is compared with, acting through the same actuator:
 *
 *   vmpolicy psi STEP               a pressure event: plug STEP bytes
 *   vmpolicy available STEP LINE    MemAvailable, looked at every 20 ms, under LINE: plug STEP bytes
 *
 * Neither gives memory back. A JSON line for each plug; "ready" comes first.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#define SOCKET "unix:path=/run/vmtide/actuator.sock"
#define OBJECT "/org/vmtide/Actuator1"
#define INTERFACE "org.vmtide.Actuator1"
#define PERIOD_US 20000U
/* What was granted and is not there after this is not counted on any more. */
#define PENDING_US 3000000U
#define PRESSURE "/proc/pressure/memory"

static void fail(const char *what, int error)
{
    fprintf(stderr, "vmpolicy: %s: %s\n", what, strerror(-error));
    exit(1);
}

static uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000U + (uint64_t)ts.tv_nsec / 1000U;
}

static sd_bus *connect_actuator(void)
{
    sd_bus *bus = NULL;
    int r = sd_bus_new(&bus);

    if (r >= 0)
        r = sd_bus_set_address(bus, SOCKET);
    if (r >= 0)
        r = sd_bus_start(bus);
    if (r < 0)
        fail(SOCKET, r);
    return bus;
}

/* Returns the bytes that were granted: none when it was refused. */
static uint64_t plug(sd_bus *bus, uint64_t step)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *reply = NULL;
    uint64_t begun = now_us();
    int r = sd_bus_call_method(bus, NULL, OBJECT, INTERFACE, "Plug", &error, &reply, "ts", step, "bench");

    printf("{\"t_us\":%" PRIu64 ",\"us\":%" PRIu64 ",\"granted\":%s}\n", begun, now_us() - begun,
            r < 0 ? "false" : "true");
    sd_bus_error_free(&error);
    sd_bus_message_unref(reply);
    return r < 0 ? 0 : step;
}

/* The shortest window that the kernel takes: 500 ms up to Linux 6.4. */
static int open_trigger(void)
{
    static const char *const triggers[] = { "some 5000 50000", "some 50000 500000" };

    for (size_t i = 0; i < sizeof(triggers) / sizeof(triggers[0]); i++) {
        int fd = open(PRESSURE, O_RDWR | O_NONBLOCK | O_CLOEXEC);

        if (fd < 0)
            fail(PRESSURE, -errno);
        if (write(fd, triggers[i], strlen(triggers[i]) + 1) >= 0)
            return fd;
        close(fd);
    }
    fail(PRESSURE, -EINVAL);
    return -1;
}

static void follow_pressure(sd_bus *bus, uint64_t step)
{
    struct pollfd p = { .fd = open_trigger(), .events = POLLPRI };

    puts("ready");
    for (;;) {
        if (poll(&p, 1, -1) < 0 && errno != EINTR)
            fail("poll", -errno);
        if (p.revents & POLLERR)
            fail(PRESSURE, -EIO);
        if (p.revents & POLLPRI)
            (void)plug(bus, step);
    }
}

static uint64_t field(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    if (!at)
        fail(name, -EBADMSG);
    return strtoull(at + strlen(name), NULL, 10) * 1024;
}

static void follow_available(sd_bus *bus, uint64_t step, uint64_t line)
{
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    uint64_t expected = 0; /* MemTotal when all that was granted is there */
    uint64_t granted_at = 0;
    char text[512];

    if (fd < 0)
        fail("/proc/meminfo", -errno);
    puts("ready");
    for (;; usleep(PERIOD_US)) {
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
        uint64_t total, available, pending;

        if (n <= 0)
            fail("/proc/meminfo", n < 0 ? -errno : -EIO);
        text[n] = '\0';
        total = field(text, "MemTotal:");
        available = field(text, "MemAvailable:");
        pending = expected > total && now_us() < granted_at + PENDING_US ? expected - total : 0;
        if (available + pending < line) {
            expected = total + pending + plug(bus, step);
            granted_at = now_us();
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t step = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    int fd;

    setlinebuf(stdout);
    /* It gets what a daemon of the system would have. */
    fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "-900", 4) < 0 || mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
        fail("cannot protect itself", -errno);
    if (argc == 3 && strcmp(argv[1], "psi") == 0)
        follow_pressure(connect_actuator(), step);
    if (argc == 4 && strcmp(argv[1], "available") == 0)
        follow_available(connect_actuator(), step, strtoull(argv[3], NULL, 10));
    fprintf(stderr, "usage: vmpolicy psi STEP | vmpolicy available STEP LINE\n");
    return 2;
}
