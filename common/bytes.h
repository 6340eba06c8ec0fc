/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

/* Room for any bytes_format() result and its NUL. */
#define BYTES_FORMAT_MAX 32

/* Parses "4096", "512M", "1.5G", "2GiB", "100 MB" is refused: binary units only (K M G T, optionally followed
 * by "iB" or "B"), case-insensitive, a decimal fraction only together with a unit. The result must be a whole
 * number of bytes after truncation and fit uint64_t. -EINVAL: not a size; -ERANGE: does not fit. */
int bytes_parse(const char *text, uint64_t *ret);

/* Writes the shortest exact form where there is one with at most two decimals ("512M", "1.5G"), else rounds
 * to one decimal ("1.4G"). Always fits BYTES_FORMAT_MAX. Returns buf, for use in a log line. */
const char *bytes_format(char buf[static BYTES_FORMAT_MAX], uint64_t bytes);
#define FORMAT_BYTES(v) bytes_format((char[BYTES_FORMAT_MAX]){ 0 }, (v))

/* All: 0 and *ret set, or -EOVERFLOW / -EINVAL (block 0) and *ret untouched. A block need not be a power of
 * two. */
int bytes_add(uint64_t a, uint64_t b, uint64_t *ret);
int bytes_mul(uint64_t a, uint64_t b, uint64_t *ret);
int bytes_round_up(uint64_t bytes, uint64_t block, uint64_t *ret);

/* Returns a + b, or UINT64_MAX on overflow. */
static inline uint64_t bytes_add_up(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Rounds down; block must not be 0. */
static inline uint64_t bytes_round_down(uint64_t bytes, uint64_t block)
{
    return bytes - bytes % block;
}

/* bytes x permyriad / 10000 without overflow in between. */
uint64_t bytes_share(uint64_t bytes, uint32_t permyriad);
