/* SPDX-License-Identifier: MIT */
#include "fields.h"

int fields_set(struct fields *f, const char *name, size_t name_len, uint64_t value, uint64_t scale)
{
    for (size_t i = 0; i < f->count && name_len > 0; i++) {
        const struct field *field = &f->table[i];
        uint64_t scaled;

        /* The first letter decides for nearly all of them: in a surge these files are read 50 times a second.
         */
        if (field->name[0] != name[0] || strlen(field->name) != name_len ||
                memcmp(field->name, name, name_len) != 0)
            continue;
        if (f->seen & (UINT32_C(1) << i))
            return -EBADMSG;
        if (__builtin_mul_overflow(value, scale, &scaled))
            return -ERANGE;
        f->seen |= UINT32_C(1) << i;
        memcpy((char *)f->target + field->offset, &scaled, sizeof(scaled));
        return 0;
    }
    return 0;
}

int fields_complete(const struct fields *f)
{
    for (size_t i = 0; i < f->count; i++)
        if (!f->table[i].optional && !(f->seen & (UINT32_C(1) << i)))
            return -EBADMSG;
    return 0;
}

int fields_number(const char **p, uint64_t *ret)
{
    const char *s = *p;
    uint64_t value = 0;

    if (*s < '0' || *s > '9')
        return -EBADMSG;
    for (; *s >= '0' && *s <= '9'; s++)
        if (__builtin_mul_overflow(value, 10, &value) ||
                __builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
            return -ERANGE;
    *p = s;
    *ret = value;
    return 0;
}
