/* SPDX-License-Identifier: MIT */
/* A size as a person writes it. */
#include "fuzz.h"

#include "bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = fuzz_text(data, size);
    uint64_t bytes, again;

    if (bytes_parse(text, &bytes) < 0)
        return 0;
    /* What we write ourselves can be read again, and is right to a part in a thousand and a fifth. */
    FUZZ_CHECK(strlen(FORMAT_BYTES(bytes)) < BYTES_FORMAT_MAX);
    if (bytes_parse(FORMAT_BYTES(bytes), &again) < 0)
        FUZZ_CHECK(bytes > UINT64_MAX / 16 * 15); /* rounded up beyond what there is */
    else
        FUZZ_CHECK(MAX_OF(bytes, again) - MIN_OF(bytes, again) <= bytes / 10);
    return 0;
}
