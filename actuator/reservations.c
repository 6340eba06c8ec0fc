/* SPDX-License-Identifier: MIT */
#include "reservations.h"

#include <glib.h>

static int quota(char *ret_text, const char *format, ...) _printf_(2, 3);
static int quota(char *ret_text, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(ret_text, RESERVATIONS_TEXT_MAX, format, ap);
    va_end(ap);
    return -EDQUOT;
}

int reservations_add(struct reservations *r, const struct reservation *wanted, uint64_t max_size,
        size_t *ret_slot, char ret_text[static RESERVATIONS_TEXT_MAX])
{
    size_t slot = RESERVATIONS_MAX;
    uint64_t own_bytes = 0;
    unsigned own = 0;

    for (size_t i = RESERVATIONS_MAX; i-- > 0;) {
        if (r->table[i].id == 0)
            slot = i;
        else if (r->table[i].uid == wanted->uid) {
            own++;
            own_bytes += r->table[i].bytes;
        }
    }
    if (slot == RESERVATIONS_MAX)
        return quota(ret_text, "there are %u reservations already, which is the most", RESERVATIONS_MAX);
    if (own >= RESERVATIONS_EACH_MAX)
        return quota(ret_text, "uid %u has %u reservations already, which is the most for a user",
                (unsigned)wanted->uid, own);
    if (wanted->bytes > max_size / 2 || own_bytes > max_size / 2 - wanted->bytes)
        return quota(ret_text,
                "%s beside the %s that uid %u has reserved are more than half of the max size of %s",
                FORMAT_BYTES(wanted->bytes), FORMAT_BYTES(own_bytes), (unsigned)wanted->uid,
                FORMAT_BYTES(max_size));
    r->table[slot] = *wanted;
    r->table[slot].id = ++r->last_id;
    *ret_slot = slot;
    return 0;
}

void reservations_drop(struct reservations *r, size_t slot)
{
    r->table[slot] = (struct reservation){ 0 };
}

uint64_t reservations_bytes(const struct reservations *r)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < RESERVATIONS_MAX; i++)
        sum += r->table[i].bytes; /* each at most half of a size: 64 of them fit */
    return sum;
}

uint64_t reservations_floor(const struct reservations *r)
{
    uint64_t sum = reservations_bytes(r), base = 0;

    for (size_t i = 0; i < RESERVATIONS_MAX; i++)
        base = MAX_OF(base, r->table[i].base);
    return sum > 0 ? base + sum : 0;
}

bool reservations_have_base(const struct reservations *r)
{
    for (size_t i = 0; i < RESERVATIONS_MAX; i++)
        if (r->table[i].base > 0)
            return true;
    return false;
}

uint64_t reservations_base(const struct reservations *r, uint64_t needed)
{
    return sub_floor(needed, reservations_bytes(r));
}

/* The size at which that many bytes are available. */
static uint64_t size_for(uint64_t more, uint64_t size, uint64_t requested_size, uint64_t available)
{
    uint64_t there = MAX_OF(size, requested_size), pending = sub_floor(requested_size, size);

    return sub_floor(there + more, available + pending);
}

uint64_t reservations_needed(const struct reservations *r, uint64_t bytes, uint64_t waiting, uint64_t size,
        uint64_t requested_size, uint64_t available, uint64_t headroom)
{
    uint64_t floor = reservations_floor(r);

    return MAX_OF(size_for(headroom + bytes + waiting, size, requested_size, available),
            floor > 0 ? floor + bytes : 0);
}

bool reservations_lower(struct reservations *r, uint64_t least, uint64_t size, uint64_t requested_size,
        uint64_t available, uint64_t headroom)
{
    uint64_t used = size_for(headroom, size, requested_size, available);
    struct reservations lower = *r;

    for (size_t i = 0; i < RESERVATIONS_MAX; i++)
        lower.table[i].base = MIN_OF(lower.table[i].base, MAX_OF(used, r->used));
    lower.used = used;
    if (reservations_floor(r) - reservations_floor(&lower) < least) {
        r->used = used;
        return false;
    }
    *r = lower;
    return true;
}

char *reservations_format(const struct reservations *r)
{
    g_autoptr(GKeyFile) file = g_key_file_new();

    g_key_file_set_uint64(file, "Reservations", "LastId", r->last_id);
    for (size_t i = 0; i < RESERVATIONS_MAX; i++) {
        const struct reservation *one = &r->table[i];
        char group[24];

        if (one->id == 0)
            continue;
        (void)snprintf(group, sizeof(group), "%llu", (unsigned long long)one->id);
        g_key_file_set_uint64(file, group, "Bytes", one->bytes);
        g_key_file_set_uint64(file, group, "Base", one->base);
        g_key_file_set_uint64(file, group, "Since", one->since);
        g_key_file_set_uint64(file, group, "Uid", one->uid);
        g_key_file_set_string(file, group, "Who", one->who);
        g_key_file_set_string(file, group, "Why", one->why);
    }
    return g_key_file_to_data(file, NULL, NULL);
}

static bool get_number(GKeyFile *file, const char *group, const char *key, uint64_t most, uint64_t *ret)
{
    g_autoptr(GError) error = NULL;
    uint64_t value = g_key_file_get_uint64(file, group, key, &error);

    if (error || value > most)
        return false;
    *ret = value;
    return true;
}

static bool get_text(GKeyFile *file, const char *group, const char *key, char *ret, size_t size)
{
    g_autofree char *value = g_key_file_get_string(file, group, key, NULL);

    return value && (size_t)snprintf(ret, size, "%s", value) < size;
}

static bool parse_one(GKeyFile *file, const char *group, struct reservation *ret)
{
    uint64_t uid;
    bool good = g_ascii_string_to_unsigned(group, 10, 1, INT64_MAX, &ret->id, NULL) &&
                get_number(file, group, "Bytes", INT64_MAX / RESERVATIONS_MAX, &ret->bytes) &&
                get_number(file, group, "Base", INT64_MAX / 2, &ret->base) &&
                get_number(file, group, "Since", INT64_MAX, &ret->since) &&
                get_number(file, group, "Uid", UINT32_MAX, &uid) &&
                get_text(file, group, "Who", ret->who, sizeof(ret->who)) &&
                get_text(file, group, "Why", ret->why, sizeof(ret->why));

    ret->uid = good ? (uid_t)uid : 0;
    return good && ret->bytes > 0;
}

int reservations_parse(struct reservations *r, const char *text)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    struct reservations read = { 0 };
    g_auto(GStrv) groups = NULL;
    size_t n = 0;

    if (!g_key_file_load_from_data(file, text, strlen(text), G_KEY_FILE_NONE, NULL) ||
            !get_number(file, "Reservations", "LastId", INT64_MAX, &read.last_id))
        return -EBADMSG;
    groups = g_key_file_get_groups(file, NULL);
    for (size_t i = 0; groups[i]; i++) {
        if (streq(groups[i], "Reservations"))
            continue;
        if (n == RESERVATIONS_MAX || !parse_one(file, groups[i], &read.table[n]) ||
                read.table[n].id > read.last_id)
            return -EBADMSG;
        n++;
    }
    read.used = UINT64_MAX;
    *r = read;
    return 0;
}
