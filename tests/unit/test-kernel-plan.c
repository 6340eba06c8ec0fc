/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <glib.h>
#include <inttypes.h>

#include "kernel-plan.h"
#include "room.h"

#define PAGE 4096u
#define ZONES 5u

struct layout {
    const char *name;
    uint64_t managed[ZONES]; /* DMA, DMA32, Normal, Movable, Device, in MiB */
};

static const char *const zone_names[ZONES] = { "DMA", "DMA32", "Normal", "Movable", "Device" };
static const uint32_t defaults[ZONES] = { 256, 256, 32, 0, 0 };

/* As the kernel prints it: an unpopulated zone ends after "protection:". */
static void add_node(GString *text, unsigned node, const uint64_t *managed)
{
    for (size_t i = 0; i < ZONES; i++) {
        uint64_t pages = managed[i] * (MIB(1) / PAGE);

        g_string_append_printf(text, "Node %u, zone %8s\n", node, zone_names[i]);
        if (i == 0)
            g_string_append(text, "  per-node stats\n      nr_inactive_anon 1\n");
        g_string_append_printf(text,
                "  pages free     %" PRIu64 "\n        boost    0\n        min      0\n        low      0\n"
                "        high     0\n        spanned  %" PRIu64 "\n        present  %" PRIu64
                "\n        managed  %" PRIu64 "\n        cma      0\n        protection: (0, 1, 2, 3, 4)\n",
                pages / 2, pages, pages, pages);
        if (pages > 0)
            g_string_append(text, "      nr_free_pages 7\n  pagesets\n    cpu: 0\n              count: 9\n");
    }
}

static void parse_layout(const struct layout *l, uint64_t movable, struct kernel_zones *ret)
{
    g_autoptr(GString) text = g_string_new(NULL);
    uint64_t managed[ZONES];

    memcpy(managed, l->managed, sizeof(managed));
    managed[3] = movable;
    add_node(text, 0, managed);
    assert_int_equal(kernel_zones_parse(text->str, PAGE, ret), 0);
    assert_int_equal(ret->n, ZONES);
}

static const struct layout small = { "1 GiB", { 15, 888, 0, 0, 0 } };
static const struct layout medium = { "4 GiB", { 15, 1960, 1980, 0, 0 } };
static const struct layout block = { "1 GiB and a kernel block", { 15, 888, 128, 0, 0 } };
static const struct layout arm = { "1 GiB on arm64", { 950, 0, 0, 0, 0 } };
static const struct layout three = { "3 GiB", { 15, 1960, 1000, 0, 0 } };

static void test_reserve_as_the_kernel_calculates_it(void **state)
{
    struct kernel_zones z;

    parse_layout(&small, 256, &z);
    /* DMA: (888 + 256) / 256, DMA32: 256 / 256. Device does not count. */
    assert_int_equal(kernel_plan_reserve(&z, defaults), MIB(888 + 256) / 256 + MIB(1));
    /* Never more than the zone has. */
    assert_int_equal(kernel_plan_reserve(&z, (uint32_t[ZONES]){ 1, 1, 1, 0, 0 }), MIB(15 + 256));
    assert_int_equal(kernel_plan_reserve(&z, (uint32_t[ZONES]){ 0 }), 0);
}

static void test_nodes_are_calculated_apart(void **state)
{
    g_autoptr(GString) text = g_string_new(NULL);
    const uint64_t first[ZONES] = { 15, 1960, 1000, 0, 0 }, second[ZONES] = { 0, 0, 2000, 512, 64 };
    struct kernel_zones z;

    add_node(text, 0, first);
    add_node(text, 1, second);
    assert_int_equal(kernel_zones_parse(text->str, PAGE, &z), 0);
    assert_int_equal(z.zones[1].managed, MIB(1960));
    assert_int_equal(z.zones[1].kernel_above, MIB(1000));
    assert_int_equal(z.zones[1].movable_above, 0);
    assert_int_equal(z.zones[2].managed, MIB(3000));
    assert_int_equal(z.zones[2].movable_above, MIB(512));
    assert_true(z.zones[0].kernel && z.zones[1].kernel && z.zones[2].kernel && z.zones[3].movable);
    assert_false(z.zones[3].kernel || z.zones[4].kernel || z.zones[4].movable);
}

static void test_refuses_what_it_does_not_understand(void **state)
{
    static const struct {
        const char *text;
        int error;
    } rows[] = {
        { "", -EBADMSG },
        { "managed 5\n", -EBADMSG },
        { "Node 0, zone DMA\n", -EBADMSG },
        { "Node 0, zone DMA\nNode 0, zone DMA32\n managed 5\n", -EBADMSG },
        { "Node 0, zone DMA\n managed 5\n managed 5\n", -EBADMSG },
        { "Node x, zone DMA\n managed 5\n", -EBADMSG },
        { "Node 0, zone DMA\n managed 5\nNode 1, zone DMA\n managed 5\nNode 1, zone Normal\n managed 5\n",
                -EBADMSG },
        { "Node 0, zone DMA\n managed 99999999999999\n", -ERANGE },
        { "Node 0, zone A\n managed 1\nNode 0, zone A\n managed 1\nNode 0, zone A\n managed 1\n"
          "Node 0, zone A\n managed 1\nNode 0, zone A\n managed 1\nNode 0, zone A\n managed 1\n"
          "Node 0, zone A\n managed 1\nNode 0, zone A\n managed 1\nNode 0, zone A\n managed 1\n",
                -EBADMSG },
    };
    struct kernel_zones z = { .n = 77 };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        if (kernel_zones_parse(rows[i].text, PAGE, &z) != rows[i].error || z.n != 77)
            fail_msg("row %zu", i);
}

static void test_ratios(void **state)
{
    static const struct {
        const struct layout *layout;
        uint64_t movable; /* MiB, as are wanted and reserve */
        uint64_t wanted;
        uint32_t admin[ZONES];
        uint32_t ratios[ZONES];
    } rows[] = {
        /* Nothing in Movable: the administrator's. */
        { &small, 0, 228, { 256, 256, 32, 0, 0 }, { 256, 256, 32, 0, 0 } },
        { &medium, 0, 300, { 256, 256, 32, 0, 0 }, { 256, 256, 32, 0, 0 } },
        { &arm, 0, 228, { 256, 256, 32, 0, 0 }, { 256, 256, 32, 0, 0 } },
        /* 1 GiB: all from DMA32. */
        { &small, 256, 228, { 256, 256, 32, 0, 0 }, { 256, 1, 32, 0, 0 } },
        { &small, 384, 228, { 256, 256, 32, 0, 0 }, { 256, 2, 32, 0, 0 } },
        { &small, 8192, 100, { 256, 256, 32, 0, 0 }, { 256, 82, 32, 0, 0 } },
        /* At most half of the zone. */
        { &small, 8192, 2000, { 256, 256, 32, 0, 0 }, { 256, 18, 32, 0, 0 } },
        /* 4 GiB: all from Normal, and a reserve in DMA32 would keep the kernel out of it. */
        { &medium, 256, 240, { 256, 256, 32, 0, 0 }, { 256, 256, 1, 0, 0 } },
        { &medium, 8192, 240, { 256, 256, 32, 0, 0 }, { 256, 256, 32, 0, 0 } },
        { &medium, 8192, 1300, { 256, 256, 32, 0, 0 }, { 256, 256, 8, 0, 0 } },
        { &three, 8192, 900, { 256, 256, 32, 0, 0 }, { 256, 24, 16, 0, 0 } },
        /* A Normal zone of one block gets half of the block, DMA32 the rest. */
        { &block, 256, 228, { 256, 256, 32, 0, 0 }, { 256, 2, 4, 0, 0 } },
        { &block, 8192, 228, { 256, 256, 32, 0, 0 }, { 256, 83, 32, 0, 0 } },
        /* Its own reserve against the kernel would be the larger part of it. */
        { &block, 64, 228, { 256, 256, 32, 0, 0 }, { 256, 256, 1, 0, 0 } },
        { &arm, 256, 228, { 256, 256, 32, 0, 0 }, { 1, 256, 32, 0, 0 } },
        { &arm, 8192, 228, { 256, 256, 32, 0, 0 }, { 36, 256, 32, 0, 0 } },
        /* The administrator's stronger ratio stays; 0, which turns the reserve off, is weaker than any. */
        { &small, 8192, 100, { 256, 16, 32, 0, 0 }, { 256, 16, 32, 0, 0 } },
        { &small, 256, 228, { 0, 0, 0, 0, 0 }, { 0, 1, 0, 0, 0 } },
        { &small, 256, 0, { 256, 256, 32, 0, 0 }, { 256, 256, 32, 0, 0 } },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        uint32_t ratios[KERNEL_ZONES_MAX] = { 0 };
        struct kernel_zones z;

        parse_layout(rows[i].layout, rows[i].movable, &z);
        kernel_plan_ratios(&z, MIB(rows[i].wanted), rows[i].admin, ratios);
        if (memcmp(ratios, rows[i].ratios, sizeof(rows[i].ratios)) != 0)
            fail_msg("row %zu: %s with %" PRIu64 " MiB movable: %u %u %u %u %u", i, rows[i].layout->name,
                    rows[i].movable, ratios[0], ratios[1], ratios[2], ratios[3], ratios[4]);
    }
}

/* Whatever Movable has: between three quarters of what is wanted and twice as much, once Movable holds it. */
static void test_reserve_is_near_what_is_wanted(void **state)
{
    const struct layout *const layouts[] = { &small, &medium, &arm, &three };

    for (size_t i = 0; i < ELEMENTSOF(layouts); i++)
        for (uint64_t movable = 256; movable <= 16384; movable += 128) {
            uint64_t wanted = room_kernel_reserve(GIB(1), MIB(movable), GIB(16)), reserve;
            uint32_t ratios[KERNEL_ZONES_MAX];
            struct kernel_zones z;

            parse_layout(layouts[i], movable, &z);
            kernel_plan_ratios(&z, wanted, defaults, ratios);
            reserve = kernel_plan_reserve(&z, ratios);
            if (reserve < MIN_OF(wanted, MIB(movable)) / 4 * 3)
                fail_msg("%s, %" PRIu64 " MiB movable: %s of %s", layouts[i]->name, movable,
                        FORMAT_BYTES(reserve), FORMAT_BYTES(wanted));
            if (reserve > 2 * wanted + kernel_plan_reserve(&z, defaults))
                fail_msg("%s, %" PRIu64 " MiB movable: %s for %s", layouts[i]->name, movable,
                        FORMAT_BYTES(reserve), FORMAT_BYTES(wanted));
        }
}

static void test_writes_only_for_an_eighth(void **state)
{
    assert_false(kernel_plan_differs(MIB(800), MIB(800)));
    assert_false(kernel_plan_differs(MIB(800), MIB(900)));
    assert_false(kernel_plan_differs(MIB(800), MIB(700)));
    assert_true(kernel_plan_differs(MIB(800), MIB(901)));
    assert_true(kernel_plan_differs(MIB(800), MIB(699)));
    assert_true(kernel_plan_differs(0, 1));
    assert_false(kernel_plan_differs(0, 0));
}

static void test_overcommit_is_1_while_the_vm_may_grow(void **state)
{
    assert_int_equal(kernel_plan_overcommit(true, GIB(1), GIB(8), 0), 1);
    assert_int_equal(kernel_plan_overcommit(true, GIB(8), GIB(8), 0), 0);
    assert_int_equal(kernel_plan_overcommit(false, GIB(1), GIB(8), 0), 0);
    assert_int_equal(kernel_plan_overcommit(true, GIB(1), GIB(8), 1), 1);
    assert_int_equal(kernel_plan_overcommit(false, GIB(1), GIB(8), 1), 1);
    assert_int_equal(kernel_plan_overcommit(true, GIB(1), GIB(8), 2), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reserve_as_the_kernel_calculates_it),
        cmocka_unit_test(test_nodes_are_calculated_apart),
        cmocka_unit_test(test_refuses_what_it_does_not_understand),
        cmocka_unit_test(test_ratios),
        cmocka_unit_test(test_reserve_is_near_what_is_wanted),
        cmocka_unit_test(test_writes_only_for_an_eighth),
        cmocka_unit_test(test_overcommit_is_1_while_the_vm_may_grow),
    };

    return cmocka_run_group_tests_name("kernel-plan", tests, NULL, NULL);
}
