# SPDX-License-Identifier: MIT
"""The main job in a real guest: memory grows, comes back, and every daemon may die in between."""

import re

import pytest

from tests.vm.rig import GIB, MIB, wait_until
from tests.vm.rig.speed import patience

ACTUATOR = 'org.vmtide.Actuator1 /org/vmtide/Actuator1 org.vmtide.Actuator1'
MONITOR = 'org.vmtide.Monitor1 /org/vmtide/Monitor1 org.vmtide.Monitor1'
# A good run takes 2 s, most of it the start of a daemon that was killed; on a loaded machine that alone took 7.
AGREE_SECONDS = 15
MEMORY_BLOCK = 128 * MIB


def properties(guest, *names, at=ACTUATOR):
    """Values of properties as busctl prints them, or None while the daemon is not on the bus."""
    result = guest.run(f'busctl get-property {at} {" ".join(names)}', 20)
    return [line.split(' ', 1)[1] for line in result.stdout.splitlines()] if result.status == 0 else None


def connected(guest):
    return properties(guest, 'HostConnected') == ['true']


def start_host(guest):
    guest.start_host('--host-reserve', '256M')
    wait_until(lambda: connected(guest), 30, 'the actuator meets the host')


def standing_size(maximum, boot=GIB):
    """What the monitor keeps plugged from boot on: as many memory blocks as the kernel's reserve takes, two at most."""
    reserve = min(64 * MIB + maximum // 64 + (boot + maximum) // 256, boot // 3)
    return min(-(-reserve // MEMORY_BLOCK), 2) * MEMORY_BLOCK


# Of a guest with 1 GiB of boot memory that may have 4 GiB or more.
STANDING = standing_size(8 * GIB)


def wait_standing(guest):
    """Until the monitor has plugged what it keeps: a burst begins from there."""
    wait_until(lambda: guest.size() == guest.requested_size() >= STANDING, patience(30), 'the standing blocks are plugged')


def agree(guest):
    """Guest, actuator and host say the same size; QEMU's is the truth."""
    told = properties(guest, 'Size', 'RequestedSize')
    return told is not None and connected(guest) and told == [str(guest.size()), str(guest.requested_size())]


def wait_agreed(guest):
    wait_until(lambda: agree(guest), patience(AGREE_SECONDS), 'guest, actuator and host agree on the size')


def wait_settled(guest):
    wait_until(lambda: guest.size() == guest.requested_size() and agree(guest), patience(60), 'the change is over')


def offline_blocks(guest):
    return int(guest.check('grep -l offline /sys/devices/system/memory/memory*/state | wc -l'))


def online_blocks(guest):
    return int(guest.check('grep -lx online /sys/devices/system/memory/memory*/state | wc -l'))


def kill_unit(guest, unit):
    guest.check(f'systemctl kill -s KILL {unit}')


def burst(guest, size='3G', hold=0, threads=2):
    return guest.start_command(f'exec vmhog --threads {threads} --bytes {size} --hold {hold}', slice_name='user.slice')


@pytest.mark.guest(memhp=None)
def test_burst_and_reboot_while_large(guest):
    """Two threads, 3 GiB, full speed; onlining policy offline at boot; then a reboot with the memory plugged."""
    start_host(guest)
    assert guest.check('cat /sys/devices/system/memory/auto_online_blocks').strip() != 'offline'
    hog = burst(guest, hold=3)
    assert hog.wait(patience(240)).status == 0
    assert guest.oom_kills() == 0
    assert guest.size() >= 2 * GIB
    assert offline_blocks(guest) == 0

    guest.check('systemctl stop vmtide-monitor')  # nothing is to be given back now
    wait_settled(guest)
    large = guest.size()
    guest.reboot()
    guest.wait_booted()
    wait_until(lambda: guest.run('systemctl stop vmtide-monitor', 20).status == 0, 60, 'the monitor is stopped')
    wait_until(lambda: guest.size() == guest.requested_size() and guest.size() > GIB, patience(90),
               'all that is requested is plugged again')
    # The kernel brings all of it online in a kernel zone, where it is plugged before any daemon runs and its own policy is
    # "online": then the standing blocks are asked for once more, for ZONE_MOVABLE.
    assert guest.requested_size() <= large + STANDING
    wait_agreed(guest)
    assert offline_blocks(guest) == 0


def test_every_daemon_may_die(guest):
    start_host(guest)
    wait_standing(guest)
    # The host, in the middle of a grow.
    size = guest.size()
    hog = burst(guest, size='2G', hold=1000, threads=1)
    wait_until(lambda: guest.requested_size() > size, patience(60), 'a grow begins')
    guest.host.kill()
    guest.host.restart()
    wait_agreed(guest)
    hog.wait_output('touched', patience(240))
    assert guest.oom_kills() == 0
    # The monitor, at any time.
    kill_unit(guest, 'vmtide-monitor')
    wait_agreed(guest)
    # The actuator, in the middle of a shrink.
    wait_settled(guest)
    hog.kill()
    hog.wait(20)
    wait_until(lambda: guest.requested_size() < guest.size(), patience(120), 'a shrink begins')
    kill_unit(guest, 'vmtide-actuator')
    # The shrink goes on to its end; the driver finishes a requested step without the actuator, too.
    wait_agreed(guest)
    wait_until(lambda: guest.size() <= STANDING + 256 * MIB, patience(120), 'the shrink goes on')
    # No daemon: the guest keeps its memory.
    guest.check('systemctl stop vmtide-monitor vmtide-actuator')
    guest.host.stop()
    wait_until(lambda: guest.size() == guest.requested_size(), patience(20), 'the last change is over')
    size = guest.size()
    hog = guest.start_command('exec vmhog --bytes 256M --hold 2')
    assert hog.wait(patience(60)).status == 0
    assert guest.size() == size


ERRORS = (
    ('Plug ts 0 test', 'InvalidSize'),
    ('Plug ts 18446744073709551615 test', 'LimitExceeded'),
    ('Plug ts 9126805504 test', 'LimitExceeded'),
    ('Unplug ts 0 test', 'InvalidSize'),
    ('Unplug ts 9126805504 test', 'BelowMinimum'),
)


def call(guest, text, prefix=''):
    """One busctl call; the error's name stands in busctl's own message only when it is asked to be verbose."""
    return guest.run(f'{prefix} busctl --timeout=8 call {ACTUATOR} {text} 2>&1', 30)


def test_bus(installed, boot_guest):
    """On one kernel: it is systemd and the bus that it is about."""
    guest = boot_guest(destdir=installed)
    start_host(guest)
    wait_standing(guest)
    guest.check('systemctl stop vmtide-monitor')
    before = guest.size()
    seen = guest.check('busctl introspect org.vmtide.Actuator1 /org/vmtide/Actuator1 --xml-interface')
    for name in ('bytes', 'reason', 'requested_size', 'kind', 'stall_usec', 'window_usec', 'available', 'level', 'old_size'):
        assert f'name="{name}"' in seen
    assert not re.search(r'<arg type="[^"]*" (direction|/)', seen), 'an argument without a name'

    result = call(guest, 'Plug ts 268435456 test')
    assert (result.status, result.stdout.strip()) == (0, f't {before + 256 * MIB}')
    guest.wait_size(before + 256 * MIB, 20)
    result = call(guest, 'Plug ts 268435456 test', 'setpriv --reuid=65534 --regid=65534 --clear-groups')
    assert result.status != 0 and 'denied' in result.stdout.lower() + 'may not'
    assert guest.requested_size() == before + 256 * MIB
    guest.check('busctl monitor org.vmtide.Actuator1 >/run/signals & sleep 1')
    for text, _name in ERRORS:
        assert call(guest, text).status != 0
    told = guest.read('/run/signals')
    for _text, name in ERRORS:
        assert f'org.vmtide.Error.{name}' in told
    assert guest.requested_size() == before + 256 * MIB

    guest.host.stop()
    wait_until(lambda: not connected(guest), 10, 'the actuator sees that the host has gone')
    result = guest.run(f'busctl --timeout=8 call {ACTUATOR} Plug ts 268435456 test 2>&1', 30)
    assert result.status != 0 and 'host' in result.stdout
    assert 'org.vmtide.Error.HostUnavailable' in guest.read('/run/signals')
