/* SPDX-License-Identifier: MIT */
#include "bytes.h"

#include <ctype.h>
#include <inttypes.h>
#include <strings.h>

/* Nine digits of a fraction are finer than a byte of a TiB is; more are refused rather than cut. */
#define FRACTION_DIGITS_MAX 9u

static int unit_shift(const char *unit, unsigned *ret)
{
    static const char letters[] = "KMGTPE";
    const char *letter;

    if (*unit == '\0' || strcasecmp(unit, "B") == 0) {
        *ret = 0;
        return 0;
    }
    letter = strchr(letters, toupper((unsigned char)*unit));
    if (!letter)
        return -EINVAL;
    if (unit[1] != '\0' && strcasecmp(unit + 1, "B") != 0 && strcasecmp(unit + 1, "iB") != 0)
        return -EINVAL;
    *ret = 10 * (unsigned)(letter - letters + 1);
    return 0;
}

static int parse_digits(const char **p, uint64_t *ret, unsigned *ret_count)
{
    uint64_t value = 0;
    unsigned count = 0;

    for (; isdigit((unsigned char)**p); (*p)++, count++)
        if (__builtin_mul_overflow(value, 10, &value) ||
                __builtin_add_overflow(value, (uint64_t)(**p - '0'), &value))
            return -ERANGE;
    *ret = value;
    *ret_count = count;
    return 0;
}

int bytes_parse(const char *text, uint64_t *ret)
{
    uint64_t whole, fraction = 0, scale = 1;
    unsigned digits, fraction_digits = 0, shift;
    unsigned __int128 value;
    const char *p = text;
    int r = parse_digits(&p, &whole, &digits);

    if (r < 0)
        return r;
    if (digits == 0)
        return -EINVAL;
    if (*p == '.') {
        p++;
        r = parse_digits(&p, &fraction, &fraction_digits);
        if (r < 0 || fraction_digits == 0 || fraction_digits > FRACTION_DIGITS_MAX)
            return -EINVAL;
    }
    r = unit_shift(p, &shift);
    if (r < 0)
        return r;
    if (fraction_digits > 0 && shift == 0)
        return -EINVAL;
    for (unsigned i = 0; i < fraction_digits; i++)
        scale *= 10;
    value = ((unsigned __int128)whole << shift) + (((unsigned __int128)fraction << shift) / scale);
    if (value > UINT64_MAX)
        return -ERANGE;
    *ret = (uint64_t)value;
    return 0;
}

const char *bytes_format(char buf[static BYTES_FORMAT_MAX], uint64_t bytes)
{
    static const char letters[] = "KMGTPE";
    unsigned shift = 0;
    uint64_t unit, whole, rest, hundredths;

    while (shift < 60 && bytes >> (shift + 10) > 0)
        shift += 10;
    if (shift == 0) {
        (void)snprintf(buf, BYTES_FORMAT_MAX, "%" PRIu64, bytes);
        return buf;
    }
    unit = UINT64_C(1) << shift;
    whole = bytes >> shift;
    rest = bytes & (unit - 1);
    hundredths = (uint64_t)((unsigned __int128)rest * 100 / unit);
    if (rest == 0)
        (void)snprintf(buf, BYTES_FORMAT_MAX, "%" PRIu64 "%c", whole, letters[shift / 10 - 1]);
    else if ((unsigned __int128)rest * 100 % unit == 0)
        (void)snprintf(buf, BYTES_FORMAT_MAX,
                hundredths % 10 == 0 ? "%" PRIu64 ".%" PRIu64 "%c" : "%" PRIu64 ".%02" PRIu64 "%c", whole,
                hundredths % 10 == 0 ? hundredths / 10 : hundredths, letters[shift / 10 - 1]);
    else {
        uint64_t tenths = (uint64_t)(((unsigned __int128)bytes * 10 + unit / 2) >> shift);

        (void)snprintf(buf, BYTES_FORMAT_MAX, "%" PRIu64 ".%" PRIu64 "%c", tenths / 10, tenths % 10,
                letters[shift / 10 - 1]);
    }
    return buf;
}

int bytes_add(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t sum;

    if (__builtin_add_overflow(a, b, &sum))
        return -EOVERFLOW;
    *ret = sum;
    return 0;
}

int bytes_mul(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t product;

    if (__builtin_mul_overflow(a, b, &product))
        return -EOVERFLOW;
    *ret = product;
    return 0;
}

int bytes_round_up(uint64_t bytes, uint64_t block, uint64_t *ret)
{
    uint64_t rest;

    if (block == 0)
        return -EINVAL;
    rest = bytes % block;
    return rest == 0 ? (*ret = bytes, 0) : bytes_add(bytes, block - rest, ret);
}

uint64_t bytes_share(uint64_t bytes, uint32_t permyriad)
{
    return bytes / PERMYRIAD_ONE * permyriad + bytes % PERMYRIAD_ONE * permyriad / PERMYRIAD_ONE;
}
