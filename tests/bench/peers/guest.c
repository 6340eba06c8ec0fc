/* SPDX-License-Identifier: MIT */
/* The guests' side of the channel. */
#include "peers.h"

struct tally tally;

static void on_answer(struct peer *p, const char *line, uint64_t *count)
{
    uint64_t *due = &p->due[wire_number(line, "id") % OPEN_MAX];

    if (*due == 0) {
        tally.strays++;
        return;
    }
    (*count)++;
    if (tally.n_latency < tally.max_latency)
        tally.latency[tally.n_latency++] = (uint32_t)(peers_now() - *due);
    *due = 0;
}

void guest_line(struct wire *w, const char *line)
{
    struct peer *p = w->peer;

    if (strstr(line, "\"op\":\"who\""))
        wire_say(&p->channel,
                "\n{\"op\":\"hello\",\"v\":1,\"agent\":\"bench\",\"boot_id\":\"x\",\"boot_size\":%llu,"
                "\"memory_block_size\":%llu}\n",
                BOOT_BYTES, 128 * PEERS_MIB);
    else if (strstr(line, "\"op\":\"welcome\""))
        p->welcomed = true;
    else if (strstr(line, "\"op\":\"granted\""))
        on_answer(p, line, &tally.granted);
    else if (strstr(line, "\"op\":\"refused\""))
        on_answer(p, line, &tally.refused);
    else if (strstr(line, "\"op\":\"ping\""))
        wire_say(&p->channel, "{\"op\":\"pong\",\"id\":%llu}\n", (unsigned long long)wire_number(line, "id"));
}

void guest_ask(struct peer *p, uint64_t due)
{
    uint64_t id = ++p->next_id;

    /* Unanswered when its place is needed again: it stays counted as sent, and so as lost. */
    p->due[id % OPEN_MAX] = due;
    tally.sent++;
    wire_say(&p->channel, "{\"op\":\"resize\",\"id\":%llu,\"size\":%llu,\"reason\":\"bench\"}\n",
            (unsigned long long)id, id % 2 ? RESIZE_BYTES : 0);
}

void guest_stats(struct peer *p)
{
    wire_say(&p->channel,
            "{\"op\":\"stats\",\"available\":%llu,\"total\":%llu,\"some10\":0,\"level\":\"normal\"}\n",
            64 * PEERS_MIB, BOOT_BYTES);
}

static void flood_requests(struct peer *p)
{
    /* Called each millisecond. */
    for (unsigned i = 0; i < 10; i++) {
        uint64_t id = ++p->next_id;

        wire_say(&p->channel, "{\"op\":\"resize\",\"id\":%llu,\"size\":%llu,\"reason\":\"flood\"}\n",
                (unsigned long long)id, id % 2 ? RESIZE_BYTES : 0);
    }
}

void guest_flood(struct peer *p, enum flood flood)
{
    static char block[PEERS_MIB];

    if (p->channel.fd < 0 || flood == FLOOD_NONE)
        return;
    p->deaf = true;
    switch (flood) {
    case FLOOD_NONE:
        return;
    case FLOOD_REQUESTS:
        flood_requests(p);
        return;
    case FLOOD_LONG:
        memset(block, 'x', sizeof(block) - 1);
        block[sizeof(block) - 1] = '\n';
        (void)wire_try(&p->channel, block, sizeof(block));
        return;
    case FLOOD_HALF:
        memset(block, 'x', sizeof(block));
        (void)wire_try(&p->channel, block, sizeof(block));
        return;
    case FLOOD_DEAF:
        for (unsigned i = 0; i < 10; i++)
            wire_say(&p->channel, "{\"op\":\"ping\",\"id\":1}\n");
        return;
    case _FLOOD_MAX:
    case _FLOOD_INVALID:
        return;
    }
}
