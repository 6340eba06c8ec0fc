# SPDX-License-Identifier: MIT
"""The kernel settings in a real guest, under the unit's sandbox: set, restored, and the administrator's own respected; and
a memory block that comes online in a kernel zone."""

import re

import pytest

from tests.matrix import fault
from tests.vm.rig import GIB, MIB, wait_until
from tests.vm.rig.paths import build_dir
from tests.vm.rig.speed import patience
from tests.vm.test_job import ACTUATOR, connected, start_host

CLIENT = '/usr/local/bin/vmplug'
# auto-movable may put a block into a kernel zone by itself, and then it may stay there.
CONFIG = b'[Actuator]\nOnlining=movable\n'
OVERCOMMIT = '/proc/sys/vm/overcommit_memory'
RATIO = '/proc/sys/vm/lowmem_reserve_ratio'
SAVED = '/run/vmtide/kernel'
KERNEL_ZONES = ('DMA', 'DMA32', 'Normal')
RESTORED_SECONDS = 5


def numbers(guest, path):
    return [int(number) for number in guest.read(path).split()]


def settings(guest):
    return numbers(guest, OVERCOMMIT)[0], numbers(guest, RATIO)


def zones(guest):
    """Of each zone: pages managed, and what user pages leave free."""
    rows = re.findall(r'zone +(\w+)\n.*?managed +(\d+).*?protection: \(([\d, ]+)\)', guest.read('/proc/zoneinfo'), re.S)
    return {name: (int(managed) * 4096, max(map(int, protection.split(', '))) * 4096)
            for name, managed, protection in rows}


def kernel_room(guest):
    """What is free in the kernel zones above their min watermarks; dropped page cache would come to it later."""
    guest.check('sync; echo 3 >/proc/sys/vm/drop_caches')
    rows = re.findall(r'zone +(\w+)\n.*?pages free +(\d+).*?\n +min +(\d+)', guest.read('/proc/zoneinfo'), re.S)
    return sum(max(int(free) - int(low), 0) * 4096 for name, free, low in rows if name in KERNEL_ZONES)


def log(guest):
    return guest.check('journalctl -o cat -u vmtide-actuator')


def wait_set(guest):
    wait_until(lambda: connected(guest) and numbers(guest, OVERCOMMIT) == [1], 30, 'overcommit is set')


@pytest.fixture
def guest(kernel, installed, boot_guest):
    client = (build_dir() / 'tests/vm/guest/vmplug').read_bytes()
    return boot_guest(kernel, destdir=installed, files={CLIENT: (client, 0o755), '/etc/vmtide/actuator.conf': (CONFIG, 0o644)})


@fault("the actuator is stopped, and killed while nothing starts it again; an administrator changes the kernel's settings",
       'vm.overcommit_memory and vm.lowmem_reserve_ratio are as they were before, within 5 s; what he changed stays', sample=True)
def test_kernel_settings(guest):
    default = settings(guest)
    assert default[0] == 0
    start_host(guest)
    wait_set(guest)
    a_malloc_above_memtotal_succeeds(guest)
    the_reserve_is_in_force(guest, default)
    stopped_and_started(guest, default)
    a_kill_is_mended(guest, default)
    the_administrators_change_stays(guest, default)
    nothing_was_denied(guest)
    a_block_for_a_kernel_zone(guest)


def a_malloc_above_memtotal_succeeds(guest):
    program = guest.start_command('exec vmalloc --bytes 3G', slice_name='user.slice')
    result = program.wait(patience(240))
    assert result.status == 0, result
    assert guest.oom_kills() == 0


def the_reserve_is_in_force(guest, default):
    guest.check(f'systemctl stop vmtide-monitor; busctl --timeout=20 call {ACTUATOR} Plug ts {256 * MIB} test')
    wait_until(lambda: guest.size() == guest.requested_size() and zones(guest)['Movable'][0] > 0, 30, 'it is plugged')
    wait_until(lambda: settings(guest)[1] != default[1], 5, 'the ratios are lowered')
    # 64 MiB + (8 GiB - size) / 64 + 9 GiB / 256, the nearest whole ratio.
    wanted = 64 * MIB + (8 * GIB - guest.size()) // 64 + 9 * GIB // 256
    kept = sum(min(zone) for name, zone in zones(guest).items() if name in KERNEL_ZONES)
    assert 3 * wanted // 4 <= kept <= 2 * wanted


def stopped_and_started(guest, default):
    guest.check('systemctl stop vmtide-actuator')
    assert settings(guest) == default
    assert guest.run(f'test -e {SAVED}').status != 0
    guest.check('systemctl start vmtide-actuator')
    wait_set(guest)


def a_kill_is_mended(guest, default):
    """What is left by a kill is restored although nothing starts it again; and when it starts, it sets them anew."""
    guest.write('/run/systemd/system/vmtide-actuator.service.d/once.conf', '[Service]\nRestart=no\n')
    guest.check('systemctl daemon-reload')
    assert guest.run(f'test -e {SAVED}').status == 0
    guest.check('systemctl kill -s KILL vmtide-actuator')
    wait_until(lambda: settings(guest) == default, RESTORED_SECONDS, 'the settings are restored')
    guest.check('rm -r /run/systemd/system/vmtide-actuator.service.d; systemctl daemon-reload; '
                'systemctl reset-failed vmtide-actuator; systemctl start vmtide-actuator')
    wait_set(guest)
    wait_until(lambda: settings(guest)[1] != default[1], 5, 'the ratios are lowered again')


def the_administrators_change_stays(guest, default):
    guest.check('sysctl -q vm.overcommit_memory=2 vm.overcommit_ratio=400')
    guest.check('systemctl stop vmtide-actuator')
    assert settings(guest) == (2, default[1])
    guest.check('systemctl start vmtide-actuator')
    wait_until(lambda: connected(guest), 30, 'the actuator meets the host')
    wait_until(lambda: settings(guest)[1] != default[1], 5, 'the ratios are lowered again')
    assert settings(guest)[0] == 2
    guest.check('sysctl -q vm.overcommit_memory=0; systemctl restart vmtide-actuator')
    wait_set(guest)


def nothing_was_denied(guest):
    assert 'cannot be' not in log(guest)
    pid = guest.check('systemctl show -P MainPID vmtide-actuator').strip()
    # The sandbox leaves it these two of all sysctls.
    mounts = guest.check(f'grep " /proc/sys" /proc/{pid}/mountinfo')
    writable = [line.split()[4] for line in mounts.splitlines() if line.split()[5].startswith('rw')]
    assert sorted(writable) == [RATIO, OVERCOMMIT]


def plug_as_monitor(guest):
    plug = guest.run(f'setpriv --reuid=vmtide --regid=vmtide --clear-groups {CLIENT} plug {128 * MIB}', 30)
    assert plug.status == 0, plug


def a_block_for_a_kernel_zone(guest):
    """User pages fill boot memory while nothing is plugged. The first block goes to ZONE_MOVABLE, without which no ratio
    reserves anything; the next one has to help the kernel."""
    guest.check(f'busctl --timeout=20 call {ACTUATOR} Unplug ts {guest.size()} test')
    wait_until(lambda: guest.size() == 0, 60, 'it is unplugged')
    assert zones(guest)['Normal'][0] == 0
    hog = guest.start_command(f'exec vmhog --bytes {kernel_room(guest) - 60 * MIB} --hold 1000')
    hog.wait_output('touched', patience(60))
    assert kernel_room(guest) < 100 * MIB
    before = guest.read('/sys/devices/system/memory/auto_online_blocks')
    plug_as_monitor(guest)
    wait_until(lambda: zones(guest)['Movable'][0] == 128 * MIB, 10, 'the first block is in Movable')
    assert zones(guest)['Normal'][0] == 0
    assert kernel_room(guest) < 100 * MIB
    plug_as_monitor(guest)
    wait_until(lambda: zones(guest)['Normal'][0] == 128 * MIB, 10, 'the second block is in a kernel zone')
    assert zones(guest)['Movable'][0] == 128 * MIB
    wait_until(lambda: guest.read('/sys/devices/system/memory/auto_online_blocks') == before, 5, 'the policy is put back')
    assert 'memory block for a kernel zone: online' in log(guest)
    hog.kill()
    assert guest.oom_kills() == 0
