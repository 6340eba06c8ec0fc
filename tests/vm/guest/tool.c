/* SPDX-License-Identifier: MIT */
#include "tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000U + (uint64_t)ts.tv_nsec / 1000U;
}

void sleep_until_us(uint64_t when)
{
    struct timespec ts = { .tv_sec = (time_t)(when / 1000000U), .tv_nsec = (long)(when % 1000000U) * 1000 };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
        ;
}

static int parse_number(const char *text, uint64_t *ret_n, char **ret_end)
{
    unsigned long long n;

    errno = 0;
    n = strtoull(text, ret_end, 10);
    if (errno != 0 || *ret_end == text || *text == '-')
        return -EINVAL;
    *ret_n = n;
    return 0;
}

int parse_size(const char *text, uint64_t *ret_size)
{
    static const char suffixes[] = "KMGT";
    const char *suffix;
    uint64_t n;
    char *end;

    if (parse_number(text, &n, &end) < 0)
        return -EINVAL;
    if (*end != '\0') {
        suffix = strchr(suffixes, *end);
        if (!suffix || end[1] != '\0')
            return -EINVAL;
        for (const char *s = suffixes; s <= suffix; s++)
            if (__builtin_mul_overflow(n, 1024, &n))
                return -ERANGE;
    }
    *ret_size = n;
    return 0;
}

int parse_count(const char *text, unsigned min, unsigned max, unsigned *ret_n)
{
    uint64_t n;
    char *end;

    if (parse_number(text, &n, &end) < 0 || *end != '\0' || n < min || n > max)
        return -EINVAL;
    *ret_n = (unsigned)n;
    return 0;
}
