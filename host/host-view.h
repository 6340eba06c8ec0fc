/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* What the host shows of itself, on the bus and in the metrics. */
struct host_view {
    uint64_t total; /* bytes, of the last look, 10 s ago at most; 0: not known */
    uint64_t available;
    uint64_t reserve;
    uint64_t promised;
    uint32_t pressure10; /* permyriad */
    bool pressure_known;
    bool over_commit;
    unsigned vms;
};
