/* SPDX-License-Identifier: MIT */

/* A client of the actuator's private socket for tests and benches, with times on the guest's clock. JSON
 * lines.
 *
 * plug BYTES, unplug BYTES: one request; plug waits until MemTotal has grown by it.
 * plug-step BYTES, unplug-step BYTES: the same, told step by step: "ready" when the actuator has answered
 * something else on this connection; after SIGUSR1 "sent N" when the request is written, N being what of it
 * lies unread; "granted". pingpong N: N requests, a block up and a block down in turn, as fast as the rate
 * allows. property N: N reads of a property: the socket and the two loops alone. wait TOTAL: says "watching",
 * then "complete" when MemTotal has reached TOTAL bytes. arm HEADROOM: arms the guard every second until it
 * is killed, and says "armed" once.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#define SOCKET "unix:path=/run/vmtide/actuator.sock"
#define PATH "/org/vmtide/Actuator1"
#define INTERFACE "org.vmtide.Actuator1"
#define BLOCK (UINT64_C(2) << 20)
/* The actuator takes 10 requests a second. */
#define PACE_US 110000U
#define WAIT_US UINT64_C(60000000)

static uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000U + (uint64_t)ts.tv_nsec / 1000U;
}

static void fail(const char *what, int error)
{
    fprintf(stderr, "vmplug: %s: %s\n", what, strerror(-error));
    exit(1);
}

static uint64_t mem_total(void)
{
    static int fd = -1;
    char text[128] = "";
    ssize_t n;

    if (fd < 0)
        fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    n = pread(fd, text, sizeof(text) - 1, 0);
    if (n <= 0 || strncmp(text, "MemTotal:", 9) != 0)
        fail("/proc/meminfo", n < 0 ? -errno : -EBADMSG);
    return strtoull(text + 9, NULL, 10) * 1024;
}

static uint64_t wait_total(uint64_t wanted)
{
    uint64_t end = now_us() + WAIT_US;

    while (mem_total() < wanted) {
        if (now_us() > end)
            fail("MemTotal does not come up", -ETIMEDOUT);
        usleep(500);
    }
    return now_us();
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

static void refuse(const char *verb, uint64_t bytes, const sd_bus_error *error)
{
    fprintf(stderr, "vmplug: %s %" PRIu64 ": %s: %s\n", verb, bytes, error->name, error->message);
    exit(1);
}

static void request(
        sd_bus *bus, const char *verb, uint64_t bytes, uint64_t *ret_decided, uint64_t *ret_granted)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *reply = NULL;
    uint64_t decided = now_us();
    int r = sd_bus_call_method(bus, NULL, PATH, INTERFACE, verb, &error, &reply, "ts", bytes, "bench");

    if (r < 0)
        refuse(verb, bytes, &error);
    *ret_decided = decided;
    *ret_granted = now_us();
    sd_bus_message_unref(reply);
}

static void plug(sd_bus *bus, const char *verb, uint64_t bytes)
{
    uint64_t decided, granted, complete = 0, total = mem_total();

    request(bus, verb, bytes, &decided, &granted);
    if (strcmp(verb, "Plug") == 0)
        complete = wait_total(total + bytes);
    printf("{\"decided_us\":%" PRIu64 ",\"granted_us\":%" PRIu64 ",\"complete_us\":%" PRIu64 "}\n", decided,
            granted, complete);
}

static uint64_t get_size(sd_bus *bus)
{
    uint64_t size;
    int r = sd_bus_get_property_trivial(bus, NULL, PATH, INTERFACE, "Size", NULL, 't', &size);

    if (r < 0)
        fail("Size", r);
    return size;
}

static void say(const char *text)
{
    puts(text);
    fflush(stdout);
}

static int take_answer(sd_bus_message *reply, void *data, sd_bus_error *ret_error)
{
    sd_bus_message **answer = data;

    (void)ret_error;
    *answer = sd_bus_message_ref(reply);
    return 0;
}

static void wait_for_word(void)
{
    sigset_t word;
    int number;

    sigemptyset(&word);
    sigaddset(&word, SIGUSR1);
    /* Before "ready", so that it is waited for and ends nobody. */
    sigprocmask(SIG_BLOCK, &word, NULL);
    say("ready");
    sigwait(&word, &number);
}

static void plug_in_steps(sd_bus *bus, const char *verb, uint64_t bytes)
{
    sd_bus_message *answer = NULL;
    int unread = 0, r;
    uint64_t total;

    (void)get_size(bus);
    wait_for_word();
    total = mem_total();
    r = sd_bus_call_method_async(
            bus, NULL, NULL, PATH, INTERFACE, verb, take_answer, &answer, "ts", bytes, "step");
    if (r >= 0)
        r = sd_bus_flush(bus);
    if (r < 0)
        fail(verb, r);
    if (ioctl(sd_bus_get_fd(bus), SIOCOUTQ, &unread) < 0)
        fail("SIOCOUTQ", -errno);
    printf("sent %d\n", unread);
    fflush(stdout);
    while (!answer) {
        r = sd_bus_process(bus, NULL);
        if (r == 0)
            r = sd_bus_wait(bus, UINT64_MAX);
        if (r < 0 && !answer)
            fail(verb, r);
    }
    if (sd_bus_message_is_method_error(answer, NULL))
        refuse(verb, bytes, sd_bus_message_get_error(answer));
    say("granted");
    if (strcmp(verb, "Plug") == 0)
        wait_total(total + bytes);
    sd_bus_message_unref(answer);
}

static void pingpong(sd_bus *bus, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t decided, granted;

        request(bus, i % 2 == 0 ? "Plug" : "Unplug", BLOCK, &decided, &granted);
        printf("{\"decided_us\":%" PRIu64 ",\"granted_us\":%" PRIu64 "}\n", decided, granted);
        usleep(PACE_US);
    }
}

static void property(sd_bus *bus, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t begun = now_us();

        (void)get_size(bus);
        printf("{\"us\":%" PRIu64 "}\n", now_us() - begun);
        usleep(PACE_US);
    }
}

static void arm(sd_bus *bus, uint64_t headroom)
{
    for (bool said = false;; said = true) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = sd_bus_call_method(bus, NULL, PATH, INTERFACE, "ArmGuard", &error, NULL, "t", headroom);

        if (r < 0)
            fail(error.message ? error.message : "ArmGuard", r);
        if (!said)
            puts("armed");
        fflush(stdout);
        usleep(1000000);
    }
}

int main(int argc, char **argv)
{
    uint64_t value;

    if (argc != 3) {
        fprintf(stderr,
                "usage: vmplug plug|unplug|plug-step|unplug-step|pingpong|property|wait|arm NUMBER\n");
        return 2;
    }
    value = strtoull(argv[2], NULL, 10);
    if (strcmp(argv[1], "wait") == 0) {
        say("watching");
        wait_total(value);
        puts("complete");
    } else if (strcmp(argv[1], "plug") == 0)
        plug(connect_actuator(), "Plug", value);
    else if (strcmp(argv[1], "unplug") == 0)
        plug(connect_actuator(), "Unplug", value);
    else if (strcmp(argv[1], "plug-step") == 0)
        plug_in_steps(connect_actuator(), "Plug", value);
    else if (strcmp(argv[1], "unplug-step") == 0)
        plug_in_steps(connect_actuator(), "Unplug", value);
    else if (strcmp(argv[1], "pingpong") == 0)
        pingpong(connect_actuator(), value);
    else if (strcmp(argv[1], "property") == 0)
        property(connect_actuator(), value);
    else if (strcmp(argv[1], "arm") == 0)
        arm(connect_actuator(), value);
    else
        return 2;
    return 0;
}
