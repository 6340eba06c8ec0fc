/* SPDX-License-Identifier: MIT */

/* What a monitor that was taken over could do with its line to the actuator: vmabuse private|bus SECONDS.
 *
 * Calls every method with every extreme value in turn, 32 calls at a time, as fast as they are answered, then
 * says how it was answered: "MEMBER ok|ERROR COUNT" a line, and "done CALLS".
 *
 * vmabuse huge BYTES: one message of that size over the private socket, and "gone" when the actuator hangs
 * up, else "answered" and how.
 */

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <time.h>

#define SOCKET "unix:path=/run/vmtide/actuator.sock"
#define NAME "org.vmtide.Actuator1"
#define PATH "/org/vmtide/Actuator1"
#define INTERFACE "org.vmtide.Actuator1"
#define WAITING_MAX 32u
#define RESULTS_MAX 128u
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const uint64_t numbers[] = { 0, 1, 4095, UINT64_C(2) << 20, (UINT64_C(2) << 20) + 1,
    UINT64_C(256) << 20, UINT64_C(1) << 30, UINT64_C(1) << 32, UINT64_C(1) << 40, INT64_MAX,
    UINT64_C(1) << 63, UINT64_MAX };
static char long_text[70001];
static const char *const texts[] = { "", "test", "some", "full", "critical", "busy", "in-use", "bell\a",
    "line\nbreak", long_text };
static const uint32_t words[] = { 0, 1, 10000, 10001, UINT32_MAX };

static const struct {
    const char *member;
    const char *signature;
} methods[] = {
    { "Plug", "ts" },
    { "Unplug", "ts" },
    { "SetLimits", "ttb" },
    { "Reserve", "tss" },
    { "ListReservations", "" },
    { "OpenPressureTrigger", "stt" },
    { "ArmGuard", "t" },
    { "Report", "ttus" },
    { "DeclineShrink", "ts" },
    { "Reclaim", "t" },
    { "Fly", "t" },
};

struct result {
    char text[128];
    uint64_t count;
};

static struct result results[RESULTS_MAX];
static unsigned waiting;
static uint64_t calls;

static uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

/* The same values in each run. */
static uint64_t random_number(void)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void count(const char *member, const char *how)
{
    char text[sizeof(results[0].text)];

    (void)snprintf(text, sizeof(text), "%s %s", member, how);
    for (unsigned i = 0; i < RESULTS_MAX; i++)
        if (results[i].count == 0 || strcmp(results[i].text, text) == 0) {
            memcpy(results[i].text, text, sizeof(text));
            results[i].count++;
            return;
        }
    errx(EXIT_FAILURE, "more than %u kinds of answers", RESULTS_MAX);
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const sd_bus_error *e = sd_bus_message_get_error(m);
    const char *dot = e ? strrchr(e->name, '.') : NULL;

    (void)error;
    waiting--;
    count(userdata, e ? dot ? dot + 1 : e->name : "ok");
    return 0;
}

static int append(sd_bus_message *m, char type)
{
    uint64_t r = random_number();

    if (type == 't')
        return sd_bus_message_append(m, "t", numbers[r % COUNT(numbers)]);
    if (type == 'u')
        return sd_bus_message_append(m, "u", words[r % COUNT(words)]);
    if (type == 'b')
        return sd_bus_message_append(m, "b", (int)(r % 2));
    return sd_bus_message_append(m, "s", texts[r % COUNT(texts)]);
}

static int call(sd_bus *bus, const char *destination, unsigned which)
{
    sd_bus_message *m = NULL;
    int r = sd_bus_message_new_method_call(bus, &m, destination, PATH, INTERFACE, methods[which].member);

    for (const char *s = methods[which].signature; r >= 0 && *s; s++)
        r = append(m, *s);
    if (r >= 0)
        r = sd_bus_call_async(bus, NULL, m, on_reply, (void *)methods[which].member, 60000000);
    sd_bus_message_unref(m);
    waiting += r >= 0;
    calls += r >= 0;
    return r;
}

static sd_bus *connect_private(void)
{
    sd_bus *bus = NULL;
    int r = sd_bus_new(&bus);

    if (r >= 0)
        r = sd_bus_set_address(bus, SOCKET);
    if (r >= 0)
        r = sd_bus_negotiate_fds(bus, 1);
    if (r >= 0)
        r = sd_bus_start(bus);
    if (r < 0)
        errx(EXIT_FAILURE, "%s: %s", SOCKET, strerror(-r));
    return bus;
}

static sd_bus *connect_bus(void)
{
    sd_bus *bus = NULL;
    int r = sd_bus_open_system(&bus);

    if (r < 0)
        errx(EXIT_FAILURE, "system bus: %s", strerror(-r));
    return bus;
}

static void flood(sd_bus *bus, const char *destination, uint64_t end)
{
    while (waiting > 0 || now_us() < end) {
        int r = 0;

        while (r >= 0 && waiting < WAITING_MAX && now_us() < end)
            r = call(bus, destination, (unsigned)(calls % COUNT(methods)));
        if (r >= 0)
            r = sd_bus_process(bus, NULL);
        if (r == 0)
            r = sd_bus_wait(bus, 1000000);
        if (r < 0 && r != -EINTR)
            errx(EXIT_FAILURE, "after %" PRIu64 " calls: %s", calls, strerror(-r));
    }
    for (unsigned i = 0; i < RESULTS_MAX && results[i].count > 0; i++)
        printf("%s %" PRIu64 "\n", results[i].text, results[i].count);
    printf("done %" PRIu64 "\n", calls);
}

static void huge(sd_bus *bus, size_t size)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    char *text = malloc(size + 1);
    int r;

    if (!text)
        err(EXIT_FAILURE, "%zu bytes", size);
    memset(text, 'x', size);
    text[size] = '\0';
    r = sd_bus_call_method(bus, NULL, PATH, INTERFACE, "Plug", &error, NULL, "ts", UINT64_C(2) << 20, text);
    if (r == -ECONNRESET || r == -EPIPE || sd_bus_error_has_name(&error, SD_BUS_ERROR_DISCONNECTED))
        puts("gone");
    else
        printf("answered %s %s\n", error.name ? error.name : "ok",
                error.message ? error.message : strerror(-r));
}

int main(int argc, char **argv)
{
    memset(long_text, 'x', sizeof(long_text) - 1);
    if (argc == 3 && strcmp(argv[1], "huge") == 0)
        huge(connect_private(), strtoul(argv[2], NULL, 10));
    else if (argc == 3 && strcmp(argv[1], "private") == 0)
        flood(connect_private(), NULL, now_us() + strtoull(argv[2], NULL, 10) * 1000000u);
    else if (argc == 3 && strcmp(argv[1], "bus") == 0)
        flood(connect_bus(), NAME, now_us() + strtoull(argv[2], NULL, 10) * 1000000u);
    else
        errx(2, "usage: vmabuse private|bus SECONDS, vmabuse huge BYTES");
    return EXIT_SUCCESS;
}
