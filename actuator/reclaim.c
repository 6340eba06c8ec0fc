/* SPDX-License-Identifier: MIT */
#include "reclaim.h"

#include <inttypes.h>

#include "fields.h"
#include "names.h"

#define LINE_SIZE 64

int reclaim_check(uint64_t bytes, const char **ret_error, char ret_text[static LIMITS_TEXT_MAX])
{
    if (bytes > 0 && bytes <= RECLAIM_CALL_MAX)
        return 0;
    *ret_error = bytes == 0 ? ERROR_INVALID_SIZE : ERROR_LIMIT_EXCEEDED;
    (void)snprintf(ret_text, LIMITS_TEXT_MAX,
            "reclaim of %" PRIu64 " bytes: from 1 byte to %s a call; ask several times for more", bytes,
            FORMAT_BYTES(RECLAIM_CALL_MAX));
    return -EINVAL;
}

/* Rounds down, so that no rate of calls gains anything. */
static void gate_refill(struct reclaim_gate *g, uint64_t now)
{
    uint64_t full = RECLAIM_CALL_MAX / RECLAIM_RATE * USEC_PER_SEC, elapsed = sub_floor(now, g->last);

    g->used = elapsed >= full ? 0 : sub_floor(g->used, elapsed * RECLAIM_RATE / USEC_PER_SEC);
    g->last = now;
}

int reclaim_admit(struct reclaim_gate *g, uint64_t bytes, uint64_t now, uint64_t *ret_bytes,
        const char **ret_error, char ret_text[static LIMITS_TEXT_MAX])
{
    uint64_t room, least = MIN_OF(bytes, RECLAIM_PIECE);

    *ret_error = ERROR_RATE_LIMITED;
    if (now < g->pause_until) {
        (void)snprintf(ret_text, LIMITS_TEXT_MAX,
                "this kernel swapped out anonymous memory when page cache was to be reclaimed; try again in "
                "%" PRIu64 " s, or use Linux 6.9 or newer",
                (g->pause_until - now) / USEC_PER_SEC + 1);
        return -EAGAIN;
    }
    gate_refill(g, now);
    room = RECLAIM_CALL_MAX - g->used;
    if (room < least) {
        (void)snprintf(ret_text, LIMITS_TEXT_MAX,
                "%s are left of what may be reclaimed now, %s/s are allowed; try again in %" PRIu64 " ms",
                FORMAT_BYTES(room), FORMAT_BYTES(RECLAIM_RATE), (least - room) * 1000 / RECLAIM_RATE + 1);
        return -EAGAIN;
    }
    *ret_bytes = MIN_OF(bytes, room);
    g->used += *ret_bytes;
    return 0;
}

void reclaim_learn(struct reclaim_gate *g, const struct reclaim_result *result, uint64_t now)
{
    if (result->end == RECLAIM_SWAPPED)
        g->pause_until = now + RECLAIM_SWAP_PAUSE_USEC;
}

static const struct field stat_table[] = {
    { "anon", offsetof(struct reclaim_memory, anon), false },
    { "file", offsetof(struct reclaim_memory, file), false },
    { "active_file", offsetof(struct reclaim_memory, active_file), false },
    { "inactive_file", offsetof(struct reclaim_memory, inactive_file), false },
    { "slab_reclaimable", offsetof(struct reclaim_memory, slab), false },
};

int reclaim_stat_parse(const char *text, struct reclaim_memory *ret)
{
    struct reclaim_memory m = *ret;
    struct fields f = { stat_table, ELEMENTSOF(stat_table), &m, 0 };
    int r;

    while (*text != '\0') {
        const char *end = strchrnul(text, '\n'), *space = memchr(text, ' ', (size_t)(end - text)), *p;
        uint64_t value;

        if (!space)
            return -EBADMSG;
        p = space + 1;
        r = fields_number(&p, &value);
        if (r >= 0 && p != end)
            r = -EBADMSG;
        if (r >= 0)
            r = fields_set(&f, text, (size_t)(space - text), value, 1);
        if (r < 0)
            return r;
        text = *end == '\n' ? end + 1 : end;
    }
    r = fields_complete(&f);
    if (r < 0)
        return r;
    *ret = m;
    return 0;
}

static int ask(const struct reclaim_io *io, uint64_t piece, const char *more)
{
    char line[LINE_SIZE];

    (void)snprintf(line, sizeof(line), "%" PRIu64 "%s\n", piece, more);
    return io->ask(line, io->userdata);
}

/* Cache that may go; on an old kernel with swap only while it is mostly cold. */
static uint64_t cache_to_go(const struct reclaim_memory *m, bool old_with_swap)
{
    if (!old_with_swap)
        return sub_floor(m->active_file + m->inactive_file, RECLAIM_CACHE_MIN);
    return m->inactive_file >= m->active_file ? sub_floor(m->inactive_file, RECLAIM_CACHE_MIN) : 0;
}

/* One piece, in the form that spares anonymous memory on this kernel; -ENODATA: what is left is to stay. */
static int ask_piece(const struct reclaim_io *io, const struct reclaim_memory *m, uint64_t left,
        struct reclaim_result *result)
{
    uint64_t piece = MIN_OF(left, RECLAIM_PIECE), room = cache_to_go(m, false);
    int r;

    if (room == 0)
        return -ENODATA;
    piece = MIN_OF(piece, room);

    if (m->swap_total > 0 && !result->no_swappiness) {
        r = ask(io, piece, " swappiness=0");
        if (r != -EINVAL) {
            result->asked += piece;
            return r;
        }
        result->no_swappiness = true;
    }
    if (m->swap_total > 0) {
        room = cache_to_go(m, true);
        if (room == 0)
            return -ENODATA;
        piece = MIN_OF(MIN_OF(left, RECLAIM_PIECE_SWAP), room);
    }
    result->asked += piece;
    return ask(io, piece, "");
}

/* Why a run ends after a piece, or _RECLAIM_END_INVALID: it goes on. */
static enum reclaim_end ended(int asked, uint64_t bytes, uint64_t took, uint64_t now, uint64_t deadline,
        const struct reclaim_result *result)
{
    if (result->no_swappiness && result->swapped > 0)
        return RECLAIM_SWAPPED;
    if (asked == -EINTR)
        return RECLAIM_STOPPED;
    if (asked == -ENODATA)
        return RECLAIM_SPARE;
    if (asked == -EAGAIN)
        return RECLAIM_GONE;
    if (result->reclaimed >= bytes || result->asked >= bytes)
        return RECLAIM_DONE;
    /* The next piece takes as long as this one. */
    return now + took >= deadline ? RECLAIM_LATE : _RECLAIM_END_INVALID;
}

static uint64_t cache(const struct reclaim_memory *m)
{
    return m->file + m->slab;
}

int reclaim_run(const struct reclaim_io *io, uint64_t bytes, bool no_swappiness, struct reclaim_result *ret)
{
    uint64_t now = io->now(io->userdata), deadline = now + RECLAIM_TIME_USEC;
    struct reclaim_memory before, m;
    enum reclaim_end end;
    int asked, r;

    *ret = (struct reclaim_result){ .no_swappiness = no_swappiness };
    r = io->look(&before, io->userdata);
    if (r < 0)
        return r;
    m = before;
    do {
        uint64_t began = now, swap_free = m.swap_free;

        if (!io->go_on(ret->reclaimed, io->userdata)) {
            end = RECLAIM_STOPPED;
            break;
        }
        asked = ask_piece(io, &m, bytes - MAX_OF(ret->asked, ret->reclaimed), ret);
        if (asked < 0 && asked != -ENODATA && asked != -EAGAIN && asked != -EINTR)
            return asked;
        r = io->look(&m, io->userdata);
        if (r < 0)
            return r;
        now = io->now(io->userdata);
        ret->reclaimed = sub_floor(cache(&before), cache(&m));
        ret->swapped += sub_floor(swap_free, m.swap_free);
        end = ended(asked, bytes, sub_floor(now, began), now, deadline, ret);
    } while ((int)end < 0);
    ret->end = end;
    return 0;
}

static const char *const end_names[_RECLAIM_END_MAX] = {
    [RECLAIM_DONE] = "done",
    [RECLAIM_GONE] = "no more is to be had",
    [RECLAIM_SPARE] = "the cache that is left is to stay",
    [RECLAIM_LATE] = "time is up",
    [RECLAIM_SWAPPED] = "anonymous memory went to swap",
    [RECLAIM_STOPPED] = "stopped",
};

const char *reclaim_end_to_string(enum reclaim_end e)
{
    return (int)e >= 0 && e < _RECLAIM_END_MAX ? end_names[e] : NULL;
}
