/* SPDX-License-Identifier: MIT */
/* What QEMU 7.2 answers, with a driver that follows at once. */
#include "peers.h"

void qemu_greet(struct wire *w)
{
    wire_say(w, "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, \"package\": "
                "\"\"}, "
                "\"capabilities\": [\"oob\"]}}\r\n");
}

static void answer_devices(struct wire *w, uint64_t id)
{
    struct peer *p = w->peer;

    wire_say(w,
            "{\"return\": [{\"type\": \"virtio-mem\", \"data\": {\"id\": \"vm0\", \"memaddr\": 4294967296, "
            "\"requested-size\": %llu, \"max-size\": %llu, \"size\": %llu, \"block-size\": %llu, \"node\": "
            "0, "
            "\"memdev\": \"/objects/vmem0\"}}], \"id\": %llu}\r\n",
            (unsigned long long)p->requested, MAX_BYTES, (unsigned long long)p->size, BLOCK_BYTES,
            (unsigned long long)id);
}

void qemu_line(struct wire *w, const char *line)
{
    unsigned long long id = wire_number(line, "id");

    if (strstr(line, "query-memory-devices"))
        answer_devices(w, id);
    else if (strstr(line, "query-memory-size-summary"))
        wire_say(w, "{\"return\": {\"base-memory\": %llu, \"plugged-memory\": %llu}, \"id\": %llu}\r\n",
                BOOT_BYTES, (unsigned long long)w->peer->size, id);
    else {
        if (strstr(line, "qom-set"))
            w->peer->requested = w->peer->size = wire_number(line, "value");
        wire_say(w, "{\"return\": {}, \"id\": %llu}\r\n", id);
    }
}
