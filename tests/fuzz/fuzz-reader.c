/* SPDX-License-Identifier: MIT */
/* A file of /proc, one reader for each program built from this. */
#include "fuzz.h"

#include "meminfo.h"
#include "pressure.h"
#include "vmstat.h"
#include "zoneinfo.h"

static void read_meminfo(const char *text)
{
    struct meminfo m;

    if (meminfo_parse(text, &m) < 0)
        return;
    FUZZ_CHECK(m.total > 0 && m.free <= m.total && m.available <= m.total && m.swap_free <= m.swap_total);
}

static void read_zoneinfo(const char *text)
{
    struct zoneinfo z;

    if (zoneinfo_parse(text, 4096, &z) == 0)
        FUZZ_CHECK(z.kernel_managed > 0);
}

static void read_vmstat(const char *text)
{
    struct vmstat v;

    (void)vmstat_parse(text, &v);
}

static void read_pressure(const char *text)
{
    struct pressure p;

    if (pressure_parse(text, &p) < 0)
        return;
    FUZZ_CHECK(p.some.avg10 <= 10000 && p.some.avg60 <= 10000 && p.some.avg300 <= 10000);
    FUZZ_CHECK(p.full.avg10 <= 10000 && p.full.avg60 <= 10000 && p.full.avg300 <= 10000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(
            const char *) = { read_meminfo, read_zoneinfo, read_vmstat, read_pressure };
    g_autofree char *text = fuzz_text(data, size);

    readers[READER](text);
    return 0;
}
