/* SPDX-License-Identifier: MIT */
/* Addresses as a person writes them: of the metrics, and of vsock. */
#include "fuzz.h"

#include <sys/socket.h>

#include "metrics-text.h"
#include "vsock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = fuzz_text(data, size);
    struct sockaddr_storage where = { 0 };
    struct vsock_address a;
    bool local;

    if (metrics_parse_address(text, &where, &local) >= 0)
        FUZZ_CHECK(where.ss_family == AF_INET || where.ss_family == AF_INET6);
    if (vsock_parse(text, &a) >= 0)
        FUZZ_CHECK(a.cid > 0 && a.port > 0 && a.cid < UINT32_MAX && a.port < UINT32_MAX);
    return 0;
}
