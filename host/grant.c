/* SPDX-License-Identifier: MIT */
#include "grant.h"

#include <stdarg.h>

#include "bytes.h"

uint64_t grant_spendable(const struct grant_host *host)
{
    uint64_t left = sub_floor(sub_floor(host->available, host->reserve), host->promised);

    return host->known ? sub_floor(left, host->held) : 0;
}

static void give(struct grant *g, uint64_t wanted, uint64_t requested_size)
{
    *g = (struct grant){
        .verdict = requested_size == wanted ? GRANT_FULL : GRANT_PART,
        .requested_size = requested_size,
        .code = _CHANNEL_CODE_INVALID,
    };
}

_printf_(3, 4) static void refuse(struct grant *g, enum channel_code code, const char *format, ...)
{
    va_list ap;

    *g = (struct grant){ .verdict = GRANT_REFUSED, .code = code };
    va_start(ap, format);
    (void)vsnprintf(g->text, sizeof(g->text), format, ap);
    va_end(ap);
}

/* Growth beyond what is committed: as much as the host can pay for, in blocks. */
static void pay(const struct grant_limits *limits, const struct grant_vm *vm, const struct grant_host *host,
        uint64_t wanted, struct grant *ret)
{
    uint64_t spendable = grant_spendable(host), missing = wanted - vm->committed;
    uint64_t reachable;

    if (missing <= spendable) {
        give(ret, wanted, wanted);
        return;
    }
    /* Less than wanted, so it cannot overflow. */
    reachable = bytes_round_down(vm->committed + spendable, limits->block_size);
    if (reachable > vm->requested_size)
        give(ret, wanted, reachable);
    else if (!host->known)
        refuse(ret, CHANNEL_CODE_HOST_MEMORY, "%s more asked, but the host's free memory is not known",
                FORMAT_BYTES(missing));
    else if (host->held > 0)
        refuse(ret, CHANNEL_CODE_HOST_MEMORY,
                "%s more asked, the host has %s to give beside %s kept for others or for itself",
                FORMAT_BYTES(missing), FORMAT_BYTES(spendable), FORMAT_BYTES(host->held));
    else
        refuse(ret, CHANNEL_CODE_HOST_MEMORY, "%s more asked, the host has %s to give", FORMAT_BYTES(missing),
                FORMAT_BYTES(spendable));
}

void grant_decide(const struct grant_limits *limits, const struct grant_vm *vm, const struct grant_host *host,
        uint64_t wanted, struct grant *ret)
{
    if (wanted % limits->block_size != 0)
        refuse(ret, CHANNEL_CODE_INVALID, "size %llu is not a multiple of the block size %llu",
                (unsigned long long)wanted, (unsigned long long)limits->block_size);
    else if (wanted < limits->min_size)
        refuse(ret, CHANNEL_CODE_LIMIT, "size %s is below the min size %s", FORMAT_BYTES(wanted),
                FORMAT_BYTES(limits->min_size));
    else if (wanted <= vm->requested_size)
        give(ret, wanted, wanted);
    else if (wanted > limits->max_size)
        refuse(ret, CHANNEL_CODE_LIMIT, "size %s is above the max size %s", FORMAT_BYTES(wanted),
                FORMAT_BYTES(limits->max_size));
    else if (wanted <= vm->committed)
        give(ret, wanted, wanted);
    else
        pay(limits, vm, host, wanted, ret);
}
