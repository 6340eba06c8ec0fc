/* SPDX-License-Identifier: MIT */
/* What the actuator left on disk for itself: reservations, limits. */
#include "fuzz.h"

#include "reservations.h"
#include "saved-limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = fuzz_text(data, size);
    struct reservations r = { .last_id = 0 };
    uint64_t min, max;
    char path[64];
    int fd;

    if (reservations_parse(&r, text) == 0) {
        g_autofree char *first = reservations_format(&r), *second = NULL;
        struct reservations again = { .last_id = 0 };

        FUZZ_CHECK(reservations_parse(&again, first) == 0);
        second = reservations_format(&again);
        FUZZ_CHECK(streq(first, second));
        (void)reservations_bytes(&r);
        (void)reservations_floor(&r);
    }
    fd = fuzz_file(data, size, path);
    (void)saved_limits_read(path, &min, &max);
    close(fd);
    return 0;
}
