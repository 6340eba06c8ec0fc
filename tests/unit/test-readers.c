/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "bytes.h"
#include "meminfo.h"
#include "pressure.h"
#include "procfile.h"
#include "vmstat.h"
#include "zoneinfo.h"

#define TEXT_MAX 4096

/* What this machine has. */
static const char *real(const char *path)
{
    static char text[PROCFILE_MAX];
    size_t len;

    assert_int_equal(procfile_read(path, text, sizeof(text), &len), 0);
    return text;
}

static const char meminfo_text[] = "MemTotal:         984020 kB\n"
                                   "MemFree:          700000 kB\n"
                                   "MemAvailable:     800000 kB\n"
                                   "Buffers:            1000 kB\n"
                                   "Cached:            90000 kB\n"
                                   "SwapCached:            0 kB\n"
                                   "Active(file):      40000 kB\n"
                                   "Inactive(file):    50000 kB\n"
                                   "SwapTotal:          2048 kB\n"
                                   "SwapFree:           1024 kB\n"
                                   "Shmem:               500 kB\n"
                                   "SReclaimable:      10000 kB\n"
                                   "HugePages_Total:       0\n";

static const char vmstat_text[] =
        "nr_free_pages 100\n"
        "workingset_refault_anon 1\nworkingset_refault_file 2\n"
        "pgscan_direct 3\npgscan_direct_throttle 33\npgsteal_direct 4\npgsteal_kswapd 5\n"
        "oom_kill 6\npswpin 7\npswpout 8\n";

static const char pressure_text[] = "some avg10=1.23 avg60=0.50 avg300=100.00 total=1234567\n"
                                    "full avg10=0.00 avg60=0.05 avg300=0.00 total=98765\n";

static const char zone_text[] =
        "Node 0, zone      DMA\n  per-node stats\n      nr_inactive_anon 5\n"
        "  pages free     100\n        boost    0\n        min      10\n        low      12\n        high    "
        " 14\n"
        "        spanned  4095\n        present  3998\n        managed  3840\n        cma      0\n"
        "        protection: (0, 900, 900, 900, 900)\n      nr_free_pages 100\n"
        "      nr_zone_inactive_file 7\n      nr_zone_active_file 3\n  pagesets\n    cpu: 0\n              "
        "count: 0\n"
        "              high:  0\n  start_pfn:           1\n"
        "Node 0, zone   Normal\n  pages free     1000\n        min      20\n        low      25\n        "
        "managed  9000\n"
        "Node 0, zone  Movable\n  pages free     5000\n        min      30\n        low      35\n        "
        "managed  6000\n"
        "Node 0, zone   Device\n  pages free     0\n        min      0\n        low      0\n        managed  "
        "0\n";

/* Takes away, doubles, and damages each line that holds word; parse must refuse all of it and touch nothing.
 */
typedef int (*parse_t)(const char *text);

static void change_line(char *out, const char *text, const char *word, const char *mode)
{
    const char *at = strstr(text, word), *end;
    size_t before;

    assert_non_null(at);
    while (at > text && at[-1] != '\n')
        at--;
    end = strchr(at, '\n') + 1;
    before = (size_t)(at - text);
    memcpy(out, text, before);
    out[before] = '\0';
    if (streq(mode, "double"))
        strncat(strncat(out, at, (size_t)(end - at)), at, (size_t)(end - at));
    else if (streq(mode, "damage"))
        strcat(strcat(out, word), " x\n");
    strcat(out, end);
}

static void check_damage(parse_t parse, const char *text, const char *const *words)
{
    static const char *const modes[] = { "missing", "double", "damage" };

    for (; *words; words++)
        for (size_t i = 0; i < ELEMENTSOF(modes); i++) {
            char changed[TEXT_MAX];

            change_line(changed, text, *words, modes[i]);
            if (parse(changed) >= 0)
                fail_msg("%s %s was taken", *words, modes[i]);
        }
}

static int try_meminfo(const char *text)
{
    struct meminfo m, before;
    int r;

    memset(&m, 0x5a, sizeof(m));
    before = m;
    r = meminfo_parse(text, &m);
    if (r < 0)
        assert_memory_equal(&m, &before, sizeof(m));
    return r;
}

static void test_meminfo(void **state)
{
    static const char *const words[] = { "MemTotal:", "MemFree:", "MemAvailable:", "Buffers:",
        &"\nCached:"[1],
        "SwapTotal:", "SwapFree:", "Shmem:", "Active(file):", "Inactive(file):", "SReclaimable:", NULL };
    struct meminfo m;

    assert_int_equal(meminfo_parse(meminfo_text, &m), 0);
    assert_int_equal(m.total, UINT64_C(984020) * 1024);
    assert_int_equal(m.available, UINT64_C(800000) * 1024);
    assert_int_equal(m.cached, UINT64_C(90000) * 1024);
    assert_int_equal(m.swap_free, UINT64_C(1024) * 1024);
    check_damage(try_meminfo, meminfo_text, words);
    assert_int_equal(try_meminfo(""), -EBADMSG);
    assert_int_equal(meminfo_read("/proc/meminfo", &m), 0);
    assert_int_equal(meminfo_read("/nonexistent", &m), -ENOENT);
}

static void test_meminfo_impossible(void **state)
{
    static const struct {
        const char *word;
        const char *line;
    } rows[] = {
        { "MemTotal:", "MemTotal: 0 kB\n" },
        { "MemFree:", "MemFree: 984021 kB\n" },
        { "MemAvailable:", "MemAvailable: 984021 kB\n" },
        { "SwapFree:", "SwapFree: 2049 kB\n" },
        { "MemTotal:", "MemTotal: 18446744073709551615 kB\n" },
        { "MemTotal:", "MemTotal: 18446744073709551616 kB\n" },
        { "MemTotal:", "MemTotal: -1 kB\n" },
        { "MemTotal:", "MemTotal: 984020 MB\n" },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        char changed[TEXT_MAX];

        change_line(changed, meminfo_text, rows[i].word, "missing");
        strcat(changed, rows[i].line);
        if (try_meminfo(changed) >= 0)
            fail_msg("%s was taken", rows[i].line);
    }
}

static int try_vmstat(const char *text)
{
    struct vmstat v;

    return vmstat_parse(text, &v);
}

static void test_vmstat(void **state)
{
    static const char *const words[] = { "workingset_refault_anon", "workingset_refault_file",
        "pgscan_direct 3", "pgsteal_direct", "pgsteal_kswapd", "oom_kill", "pswpin", "pswpout", NULL };
    struct vmstat v;
    char without[TEXT_MAX], swapless[TEXT_MAX];

    assert_int_equal(vmstat_parse(vmstat_text, &v), 0);
    assert_int_equal(v.workingset_refault_file, 2);
    assert_int_equal(v.pgscan_direct, 3);
    assert_int_equal(v.pswpout, 8);
    check_damage(try_vmstat, vmstat_text, words);
    change_line(without, vmstat_text, "pswpin", "missing");
    change_line(swapless, without, "pswpout", "missing");
    assert_int_equal(vmstat_parse(swapless, &v), 0);
    assert_int_equal(v.pswpin, 0);
    assert_int_equal(vmstat_parse(real("/proc/vmstat"), &v), 0);
}

static int try_pressure(const char *text)
{
    struct pressure p;

    return pressure_parse(text, &p);
}

static void test_pressure(void **state)
{
    static const char *const words[] = { "some", "full", NULL };
    static const char *const bad[] = {
        "some avg10=100.01 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=1.2 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=-1.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
        "some avg60=0.00 avg10=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1x\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
        ("some avg10=0.00 avg60=0.00 avg300=0.00 total=18446744073709551616\n"
         "full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"),
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
    };
    struct pressure p;

    assert_int_equal(pressure_parse(pressure_text, &p), 0);
    assert_int_equal(p.some.avg10, 123);
    assert_int_equal(p.some.avg300, PERMYRIAD_ONE);
    assert_int_equal(p.some.total, 1234567);
    assert_int_equal(p.full.avg60, 5);
    check_damage(try_pressure, pressure_text, words);
    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        if (try_pressure(bad[i]) >= 0)
            fail_msg("taken: %s", bad[i]);
}

static void test_trigger_line(void **state)
{
    char buf[64];
    size_t len = 0;

    assert_int_equal(pressure_trigger_format("some", 5000, 50000, buf, sizeof(buf), &len), 0);
    assert_int_equal(len, sizeof("some 5000 50000"));
    assert_memory_equal(buf, "some 5000 50000", len);
    assert_int_equal(pressure_trigger_format("any", 1, 2, buf, sizeof(buf), &len), -EINVAL);
    assert_int_equal(pressure_trigger_format("some", 0, 2, buf, sizeof(buf), &len), -EINVAL);
    assert_int_equal(pressure_trigger_format("some", 3, 2, buf, sizeof(buf), &len), -EINVAL);
    assert_int_equal(pressure_trigger_format("full", 1, 10000001, buf, sizeof(buf), &len), -EINVAL);
    assert_int_equal(pressure_trigger_format("full", 1, 10000000, buf, 8, &len), -ENOBUFS);
}

static int try_zones(const char *text)
{
    struct zoneinfo z;

    return zoneinfo_parse(text, 4096, &z);
}

static void test_zoneinfo(void **state)
{
    static const char *const words[] = { "pages free     1000", "min      20", "low      25", "managed  9000",
        NULL };
    struct zoneinfo z;

    assert_int_equal(zoneinfo_parse(zone_text, 4096, &z), 0);
    assert_int_equal(z.kernel_free, 1100 * 4096);
    assert_int_equal(z.kernel_min, 30 * 4096);
    assert_int_equal(z.kernel_low, 37 * 4096);
    assert_int_equal(z.kernel_managed, 12840 * 4096);
    assert_int_equal(z.kernel_file, 10 * 4096);
    assert_int_equal(z.movable_free, 5000 * 4096);
    assert_int_equal(z.movable_managed, 6000 * 4096);
    /* DMA: 100 free, min 10, low 12, and 900 protected, which leaves user pages nothing. */
    assert_int_equal(z.kernel_room, (90 + 980) * 4096);
    assert_int_equal(z.kernel_reserve, 900 * 4096);
    assert_int_equal(z.user_room, (0 + 975 + 4965) * 4096);
    check_damage(try_zones, zone_text, words);
    assert_int_equal(try_zones(""), -EBADMSG);
    assert_int_equal(
            try_zones("Node 0, zone  Movable\n  pages free 1\n min 1\n low 1\n managed 1\n"), -EBADMSG);
    assert_int_equal(try_zones("Node 0, zone  DMA\n  pages free 2\n min 1\n low 1\n managed 1\n"), -ERANGE);
    assert_int_equal(zoneinfo_parse(real("/proc/zoneinfo"), (uint64_t)sysconf(_SC_PAGESIZE), &z), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meminfo),
        cmocka_unit_test(test_meminfo_impossible),
        cmocka_unit_test(test_vmstat),
        cmocka_unit_test(test_pressure),
        cmocka_unit_test(test_trigger_line),
        cmocka_unit_test(test_zoneinfo),
    };

    return cmocka_run_group_tests_name("readers", tests, NULL, NULL);
}
