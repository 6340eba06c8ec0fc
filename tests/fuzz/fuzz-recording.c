/* SPDX-License-Identifier: MIT */
/* A recording of demand. */
#include "fuzz.h"

#include "trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = fuzz_text(data, size), *error = NULL;
    uint64_t last = 0, used, cached;
    size_t cursor = 0;
    struct trace t;

    if (trace_parse("recording", text, size, &t, &error) < 0) {
        FUZZ_CHECK(error && strlen(error) < 4096);
        return 0;
    }
    for (size_t i = 0; i < t.n_rows; i++) {
        FUZZ_CHECK(t.rows[i].time >= last);
        last = t.rows[i].time;
        trace_at(&t, &cursor, last, &used, &cached);
    }
    FUZZ_CHECK(t.n_rows > 0 && trace_duration(&t) == last);
    trace_clear(&t);
    return 0;
}
