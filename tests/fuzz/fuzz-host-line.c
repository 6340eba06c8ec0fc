/* SPDX-License-Identifier: MIT */
/* What a host says to the guest: bytes in pieces, lines, messages, and what the guest's end does then. */
#include "fuzz.h"

#include "channel.h"
#include "lines.h"
#include "link-state.h"

/* What was understood can be said again, and is understood as the same. */
static void check_round_trip(const struct channel_message *m)
{
    char first[CHANNEL_LINE_MAX], second[CHANNEL_LINE_MAX];
    struct channel_message again;
    size_t n, n_again;

    FUZZ_CHECK(m->op >= 0 && m->op < _CHANNEL_OP_MAX);
    FUZZ_CHECK(channel_encode(m, first, sizeof(first), &n) == 0);
    FUZZ_CHECK(channel_decode(first, n - 1, &again) == 0);
    FUZZ_CHECK(channel_encode(&again, second, sizeof(second), &n_again) == 0);
    FUZZ_CHECK(n == n_again && memcmp(first, second, n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct link_state state = { .phase = LINK_CLOSED };
    size_t piece = size > 0 ? 1u + data[0] : 1;
    char buffer[CHANNEL_LINE_MAX];
    uint64_t now = USEC_PER_SEC;
    struct lines lines;

    lines_init(&lines, buffer, sizeof(buffer));
    link_state_opened(&state, now);
    for (size_t at = 0; at < size; at += piece) {
        size_t n = MIN_OF(piece, size - at), len;
        g_autofree char *part = g_memdup2(data + at, n);
        const char *rest = part, *line;
        int r;

        while ((r = lines_next(&lines, &rest, &n, &line, &len)) != 0) {
            struct channel_message m;

            now += 10 * USEC_PER_MSEC;
            if (r > 0 && (r = channel_decode(line, len, &m)) == 0) {
                enum link_act act = link_state_message(&state, &m, now);

                FUZZ_CHECK(act >= 0 && act < _LINK_ACT_MAX);
                check_round_trip(&m);
            } else
                (void)link_state_bad(&state, now);
            FUZZ_CHECK(state.phase >= 0 && state.phase < _LINK_PHASE_MAX);
            if (now >= state.deadline)
                (void)link_state_timer(&state, now);
        }
    }
    return 0;
}
