/* SPDX-License-Identifier: MIT */
#include "decide-world.h"

/* xorshift64* generates the same streams on every machine. */
static uint64_t next_random(uint64_t *x)
{
    *x ^= *x >> 12;
    *x ^= *x << 25;
    *x ^= *x >> 27;
    return *x * UINT64_C(2685821657736338717);
}

static void random_sample(struct world *w, uint64_t *x)
{
    struct decide_sample *p = &w->sample;
    uint64_t r = next_random(x);

    p->have_meminfo = r % 50 != 0;
    p->have_zones = r / 50 % 20 != 0;
    p->have_pressure = r / 1000 % 20 != 0;
    p->have_vmstat = r / 20000 % 20 != 0;
    p->connected = r / 400000 % 20 != 0;
    p->in_flight = r / 8000000 % 10 == 0;
    p->event_early = (r >> 40) % 4 == 0;
    p->event_hard = (r >> 42) % 8 == 0;
    p->size = MIN_OF(p->requested_size, p->max_size);
    if ((r >> 45) % 8 == 0)
        p->requested_size = bytes_round_down(next_random(x) % (p->max_size + 1), MIB(2));
    p->min_size = (r >> 48) % 16 == 0 ? MIB(512) : 0;
    p->shrink_to = (r >> 52) % 16 == 0 ? next_random(x) % GIB(8) : UINT64_MAX;
    p->meminfo.total = MIB(960) + p->size;
    set_available(w, next_random(x) % (p->meminfo.total + 1));
    p->zones.kernel_free = next_random(x) % MIB(900);
    p->pressure.some.total += next_random(x) % 200000;
    p->vmstat.workingset_refault_file += next_random(x) % 4000;
}

static void check_invariants(const struct world *w)
{
    const struct decide_sample *p = &w->sample;
    const struct decision *d = &w->decision;
    uint64_t base = MAX_OF(p->size, p->requested_size);

    assert_in_range(d->wait_usec, DECIDE_INTERVAL_MIN_USEC, DECIDE_INTERVAL_MAX_USEC);
    assert_in_range(d->level, 0, _CHANNEL_LEVEL_MAX - 1);
    if (d->action == DECIDE_HOLD) {
        assert_int_equal(d->bytes, 0);
        return;
    }
    assert_true(d->bytes > 0 && d->bytes % p->block_size == 0);
    assert_true(p->have_meminfo && p->connected && !p->in_flight);
    if (d->action == DECIDE_GROW)
        assert_true(base + d->bytes <= p->max_size);
    else {
        assert_true(p->size - d->bytes >= p->min_size && d->bytes <= p->size);
        assert_true(d->bytes <= DECIDE_SHRINK_STEP_MAX);
        assert_true(p->meminfo.available >= d->headroom + 2 * d->bytes);
    }
}

static void check_short_grows(const struct world *w)
{
    const struct decide_sample *p = &w->sample;
    const struct decision *d = &w->decision;
    uint64_t pending = sub_floor(p->requested_size, p->size);

    if (!p->have_meminfo || d->why == DECIDE_UNKNOWN_INPUT || !p->connected || p->in_flight)
        return;
    if (p->meminfo.available + pending >= d->headroom || d->action == DECIDE_GROW)
        return;
    assert_true(d->why == DECIDE_AT_MAX || d->why == DECIDE_KERNEL_ZONES || d->why == DECIDE_REFUSED ||
                d->why == DECIDE_PLUGGING);
}

static void test_invariants_on_random_streams(void **state)
{
    uint64_t x = 88172645463325252u;

    for (unsigned stream = 0; stream < 100000; stream++) {
        struct world w;

        world_init(&w);
        for (unsigned i = 0; i < 24; i++) {
            random_sample(&w, &x);
            step(&w, next_random(&x) % (2 * USEC_PER_SEC));
            check_invariants(&w);
            check_short_grows(&w);
            if (w.decision.action != DECIDE_HOLD) {
                enum decide_outcome outcome = next_random(&x) % _DECIDE_OUTCOME_MAX;

                decide_result(&w.state, w.decision.action, outcome, w.now);
                if (outcome == DECIDE_GRANTED)
                    w.sample.requested_size =
                            w.decision.action == DECIDE_GROW
                                    ? MAX_OF(w.sample.size, w.sample.requested_size) + w.decision.bytes
                                    : w.sample.size - w.decision.bytes;
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_invariants_on_random_streams),
    };

    return cmocka_run_group_tests_name("decide-random", tests, NULL, NULL);
}
