/* SPDX-License-Identifier: MIT */
/* What one decision and one full sample of this machine's /proc take. Prints, judges nothing. */
#include <time.h>

#include "decide.h"
#include "sample.h"

#define STEPS 200000u
#define SAMPLES 2000u

static uint64_t clock_nsec(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t time_samples(struct sampler *s, struct decide_sample *ret)
{
    uint64_t begun = clock_nsec();

    /* Far enough apart in their own time that each reads everything. */
    for (unsigned i = 1; i <= SAMPLES; i++)
        sampler_read(s, i * USEC_PER_SEC, ret);
    return (clock_nsec() - begun) / SAMPLES;
}

static uint64_t time_steps(struct decide_sample *p)
{
    const struct decide_config c = {
        .profile = DECIDE_BALANCED,
        .max_size = UINT64_MAX,
        .settle_usec = decide_profile_settle(DECIDE_BALANCED),
        .fastest_rate = GIB(1),
        .page_size = 4096,
    };
    struct decide_state s;
    struct decision d;
    uint64_t begun;

    decide_init(&s, &c);
    p->connected = true;
    p->max_size = GIB(64);
    p->size = p->requested_size = GIB(8);
    p->block_size = MIB(2);
    p->memory_block_size = MIB(128);
    p->shrink_to = UINT64_MAX;
    begun = clock_nsec();
    for (unsigned i = 1; i <= STEPS; i++)
        decide_step(&c, &s, p, i * 50 * USEC_PER_MSEC, &d);
    return (clock_nsec() - begun) / STEPS;
}

int main(void)
{
    struct sampler s;
    struct decide_sample p = { 0 };

    if (sampler_open(&s, "/proc") < 0 || (sampler_read(&s, 1, &p), !p.have_meminfo)) {
        fputs("micro: /proc/meminfo cannot be read\n", stderr);
        return EXIT_FAILURE;
    }
    printf("%-32s %8s %8s\n", "", "ns", "asked");
    printf("%-32s %8llu %8u\n", "full sample", (unsigned long long)time_samples(&s, &p), 200000u);
    printf("%-32s %8llu %8u\n", "decide_step", (unsigned long long)time_steps(&p), 1000u);
    sampler_close(&s);
    return EXIT_SUCCESS;
}
