/* SPDX-License-Identifier: MIT */
/* doctor's judgement: each fact that is wrong makes its own check say so, and no other. */
#include "unit.h"

#include "bytes.h"
#include "doctor-judge.h"

#define UNIT                                                                                                 \
    {                                                                                                        \
        .known = true, .loaded = true, .active = "active", .enabled = "enabled"                              \
    }

static struct doctor_facts good(void)
{
    return (struct doctor_facts){
        .kernel = "6.12.48-cloud-amd64",
        .trigger_window = 50 * USEC_PER_MSEC,
        .driver = true,
        .devices = 1,
        .online_blocks = "online_movable",
        .port = true,
        .cgroup2 = true,
        .memory = {
            .sizes = true,
            .boot_size = GIB(1),
            .size = MIB(256),
            .max_size = GIB(8),
            .overcommit = 1,
            .movable = MIB(256),
            .reserve = MIB(228),
            .tmpfs = "/dev/shm 480M, /run 96M",
        },
        .saved_limits = -ENOENT,
        .bus = true,
        .actuator = true,
        .monitor = true,
        .host_connected = true,
        .polkit = true,
        .polkit_actions = true,
        .actuator_unit = UNIT,
        .monitor_unit = UNIT,
    };
}

static const struct doctor_check *find(const struct doctor_report *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (streq(r->checks[i].name, name))
            return &r->checks[i];
    fail_msg("no check %s", name);
    return NULL;
}

static void test_all_is_well(void **state)
{
    struct doctor_facts f = good();
    struct doctor_report r;

    doctor_judge(&f, &r);
    assert_in_range(r.n, 18, DOCTOR_CHECKS_MAX);
    assert_int_equal(doctor_count(&r, DOCTOR_OK), r.n);
    for (size_t i = 0; i < r.n; i++) {
        assert_null(r.checks[i].remedy);
        assert_true(r.checks[i].text[0] != '\0');
    }
}

static void test_saved_limits_are_shown(void **state)
{
    struct doctor_facts f = good();
    struct doctor_report r;

    f.saved_limits = 0;
    f.saved_min = MIB(512);
    f.saved_max = UINT64_MAX;
    doctor_judge(&f, &r);
    assert_int_equal(find(&r, "limits")->verdict, DOCTOR_OK);
    assert_non_null(strstr(find(&r, "limits")->text, "min size 512M, max size the host's"));
    assert_non_null(strstr(find(&r, "limits")->text, "win over actuator.conf; set-limits --reset"));
}

typedef void (*spoil_t)(struct doctor_facts *f);
#define SPOIL(name, statement)                                                                               \
    static void name(struct doctor_facts *f)                                                                 \
    {                                                                                                        \
        statement;                                                                                           \
    }
SPOIL(old_kernel, strcpy(f->kernel, "5.10.0-28-amd64"))
SPOIL(older_minor, strcpy(f->kernel, "6.0.1"))
SPOIL(odd_kernel, strcpy(f->kernel, "plan9"))
SPOIL(psi_off, f->psi = -EOPNOTSUPP)
SPOIL(psi_closed, f->psi = -EACCES)
SPOIL(not_root, f->trigger = -EPERM)
SPOIL(no_capability, f->trigger = -EINVAL)
SPOIL(no_trigger, f->trigger = -EIO)
SPOIL(no_driver, f->driver = false)
SPOIL(no_device, f->devices = 0)
SPOIL(offline, strcpy(f->online_blocks, "offline"))
SPOIL(no_hotplug, f->online_blocks[0] = '\0')
SPOIL(no_port, f->port = false)
SPOIL(no_cgroup, f->cgroup2 = false)
SPOIL(overcommit_odd, f->memory.overcommit = -ENOENT)
SPOIL(overcommit_0, f->memory.overcommit = 0)
SPOIL(overcommit_2, (f->memory.overcommit = 2, f->memory.limit = MIB(512)))
SPOIL(no_zones, f->memory.zones = -EACCES)
SPOIL(no_reserve, f->memory.reserve = MIB(20))
SPOIL(tmpfs_full, strcpy(f->memory.full, "/dev/shm (480M)"))
SPOIL(limited, strcpy(f->memory.limited, "kubepods 900M"))
SPOIL(no_sizes, f->memory.sizes = false)
SPOIL(in_root, (f->memory.root_processes = 2, strcpy(f->memory.root_names, "dockerd")))
SPOIL(bad_limits, f->saved_limits = -EBADMSG)
SPOIL(no_host, f->host_connected = false)
SPOIL(no_monitor, f->monitor = false)
SPOIL(no_polkit, f->polkit = false)
SPOIL(no_actions, f->polkit_actions = false)
SPOIL(not_told, f->actuator_unit.known = false)
SPOIL(not_installed, f->actuator_unit.loaded = false)
SPOIL(failed, strcpy(f->actuator_unit.active, "failed"))
SPOIL(disabled, strcpy(f->monitor_unit.enabled, "disabled"))

static void test_each_thing_wrong(void **state)
{
    static const struct {
        spoil_t spoil;
        const char *check;
        enum doctor_verdict verdict;
        const char *says;
        const char *remedy; /* NULL: none */
    } rows[] = {
        { old_kernel, "kernel", DOCTOR_FAULT, "5.10", "6.1" },
        { older_minor, "kernel", DOCTOR_FAULT, "6.0.1", "6.1" },
        { odd_kernel, "kernel", DOCTOR_UNKNOWN, "plan9", NULL },
        { psi_off, "pressure", DOCTOR_FAULT, "no memory pressure", "psi=1" },
        { psi_closed, "pressure", DOCTOR_FAULT, "Permission denied", "look" },
        { not_root, "triggers", DOCTOR_UNKNOWN, "root", "as root" },
        { no_capability, "triggers", DOCTOR_FAULT, "500 ms", "CAP_SYS_RESOURCE" },
        { no_trigger, "triggers", DOCTOR_FAULT, "Input/output", "look" },
        { no_driver, "driver", DOCTOR_FAULT, "virtio_mem", "modprobe" },
        { no_device, "device", DOCTOR_FAULT, "no virtio-mem", "vmtide(7)" },
        { offline, "onlining", DOCTOR_FAULT, "offline", "memhp_default_state" },
        { no_hotplug, "onlining", DOCTOR_FAULT, "cannot be read", "CONFIG_MEMORY_HOTPLUG" },
        { no_port, "port", DOCTOR_FAULT, "org.vmtide.0", "virtserialport" },
        { no_cgroup, "cgroup", DOCTOR_WARNING, "no guard", "unified" },
        { overcommit_odd, "overcommit", DOCTOR_UNKNOWN, "No such file", NULL },
        { overcommit_0, "overcommit", DOCTOR_WARNING, "may grow to 9G", "Overcommit=follow" },
        { overcommit_2, "overcommit", DOCTOR_WARNING, "CommitLimit (512M now)", "vm.overcommit_kbytes" },
        { no_zones, "kernel-reserve", DOCTOR_UNKNOWN, "Permission denied", NULL },
        { no_reserve, "kernel-reserve", DOCTOR_WARNING, "20M of the kernel zones", "KernelReserve=yes" },
        { tmpfs_full, "tmpfs", DOCTOR_WARNING, "/dev/shm (480M)", "remount" },
        { limited, "cgroup-limits", DOCTOR_WARNING, "kubepods 900M", "MemoryMax=" },
        { no_sizes, "cgroup-limits", DOCTOR_UNKNOWN, "actuator", NULL },
        { in_root, "root-cgroup", DOCTOR_WARNING, "2 processes in the root cgroup (dockerd)", "systemd-run" },
        { bad_limits, "limits", DOCTOR_WARNING, "cannot be read", "set-limits --reset" },
        { no_host, "host", DOCTOR_FAULT, "no host answers", "vmtide-host" },
        { no_monitor, "bus", DOCTOR_FAULT, "monitor is not on it", "systemctl start" },
        { no_polkit, "polkit", DOCTOR_WARNING, "root", "polkitd" },
        { no_actions, "polkit", DOCTOR_FAULT, "actions", "policy" },
        { not_told, "vmtide-actuator", DOCTOR_UNKNOWN, "systemd", NULL },
        { not_installed, "vmtide-actuator", DOCTOR_FAULT, "no such unit", "package" },
        { failed, "vmtide-actuator", DOCTOR_FAULT, "failed", "enable --now" },
        { disabled, "vmtide-monitor", DOCTOR_WARNING, "disabled", "enable --now" },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct doctor_facts f = good();
        const struct doctor_check *c;
        struct doctor_report r;

        rows[i].spoil(&f);
        doctor_judge(&f, &r);
        c = find(&r, rows[i].check);
        if (c->verdict != rows[i].verdict || !strstr(c->text, rows[i].says) ||
                !c->remedy != !rows[i].remedy || (c->remedy && !strstr(c->remedy, rows[i].remedy)))
            fail_msg("%s: %s: %s", c->name, doctor_verdict_to_string(c->verdict), c->text);
        /* What depends on it may be unknown, but nothing else is called wrong. */
        assert_int_equal(doctor_count(&r, DOCTOR_FAULT), rows[i].verdict == DOCTOR_FAULT);
        assert_int_equal(doctor_count(&r, DOCTOR_WARNING), rows[i].verdict == DOCTOR_WARNING);
    }
}

/* What the actuator restores, or what nothing can be done about, is not called wrong. */
static void test_settings_that_are_in_order(void **state)
{
    static const struct {
        int overcommit;
        bool host;
        uint64_t size, movable, reserve; /* MiB */
    } rows[] = {
        { 0, false, 256, 256, 228 },
        { 0, true, 8192, 8192, 110 },
        { 1, true, 0, 0, 0 },
        { 1, true, 128, 128, 128 },
        { 1, true, 256, 256, 120 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct doctor_facts f = good();
        struct doctor_report r;

        f.host_connected = rows[i].host;
        f.memory.overcommit = rows[i].overcommit;
        f.memory.size = MIB(rows[i].size);
        f.memory.movable = MIB(rows[i].movable);
        f.memory.reserve = MIB(rows[i].reserve);
        doctor_judge(&f, &r);
        assert_int_equal(doctor_count(&r, DOCTOR_WARNING), 0);
        assert_int_equal(find(&r, "overcommit")->verdict, DOCTOR_OK);
        assert_int_equal(find(&r, "kernel-reserve")->verdict, DOCTOR_OK);
    }
}

static void test_what_follows_is_unknown(void **state)
{
    struct doctor_facts f = good();
    struct doctor_report r;

    f.bus = f.actuator = f.monitor = f.polkit = f.host_connected = false;
    f.actuator_unit.known = f.monitor_unit.known = false;
    doctor_judge(&f, &r);
    assert_int_equal(find(&r, "bus")->verdict, DOCTOR_FAULT);
    assert_int_equal(find(&r, "host")->verdict, DOCTOR_UNKNOWN);
    assert_int_equal(find(&r, "polkit")->verdict, DOCTOR_UNKNOWN);
    assert_int_equal(doctor_count(&r, DOCTOR_FAULT), 1);
}

static void test_a_host(void **state)
{
    struct doctor_facts f = { .host = true,
        .bus = true,
        .host_conf = true,
        .host_unit = UNIT,
        .landlord = true,
        .polkit = true,
        .host_actions = true };
    struct doctor_report r;

    doctor_judge(&f, &r);
    assert_int_equal(doctor_count(&r, DOCTOR_OK), 5);
    assert_int_equal(r.n, 5);
    f.landlord = f.host_actions = false;
    doctor_judge(&f, &r);
    assert_int_equal(find(&r, "bus")->verdict, DOCTOR_FAULT);
    assert_int_equal(find(&r, "polkit")->verdict, DOCTOR_FAULT);
    f.landlord = f.host_actions = true;
    f.host_conf = false;
    strcpy(f.host_unit.active, "inactive");
    doctor_judge(&f, &r);
    assert_int_equal(doctor_count(&r, DOCTOR_FAULT), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_well),
        cmocka_unit_test(test_saved_limits_are_shown),
        cmocka_unit_test(test_each_thing_wrong),
        cmocka_unit_test(test_settings_that_are_in_order),
        cmocka_unit_test(test_what_follows_is_unknown),
        cmocka_unit_test(test_a_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
