# SPDX-License-Identifier: MIT
"""Memory that cannot be unplugged: hot-added blocks in a kernel zone, held by the kernel. Locked memory merely moves."""

from tests.vm.rig import GIB, MIB, wait_until
from tests.vm.rig.paths import build_dir
from tests.vm.rig.speed import patience

ACTUATOR = 'org.vmtide.Actuator1 /org/vmtide/Actuator1 org.vmtide.Actuator1'
CLIENT = '/usr/local/bin/vmplug'
CONFIG = b'[Actuator]\nOnlining=keep\n'
STUCK_SECONDS = 60


def property_of(guest, name):
    result = guest.run(f'busctl get-property {ACTUATOR} {name}', 20)
    return result.stdout.split(' ', 1)[1].strip().strip('"') if result.status == 0 else None


def start(kernel, installed, boot_guest, memhp):
    """Without the monitor: what is asked is asked by the test."""
    client = (build_dir() / 'tests/vm/guest/vmplug').read_bytes()
    guest = boot_guest(kernel, destdir=installed, memhp=memhp, units=('vmtide-actuator.service',),
                       files={CLIENT: (client, 0o755), '/etc/vmtide/actuator.conf': (CONFIG, 0o644)})
    guest.start_host('--host-reserve', '256M')
    wait_until(lambda: property_of(guest, 'HostConnected') == 'true', 30, 'the actuator meets the host')
    return guest


def plug(guest, size):
    guest.check(f'{CLIENT} plug {size}', 90)


def unplug(guest, size):
    guest.check(f'busctl call {ACTUATOR} Unplug ts {size} test', 30)


def test_a_stuck_shrink_ends_and_growth_goes_on(kernel, installed, boot_guest):
    guest = start(kernel, installed, boot_guest, 'online_kernel')
    plug(guest, GIB)
    hog = guest.start_command('exec vmhog --kind pipe --bytes 600M --hold 1000')
    hog.wait_output('touched', patience(120))
    unplug(guest, 896 * MIB)
    wait_until(lambda: property_of(guest, 'State') == 'stuck', STUCK_SECONDS, 'the actuator says stuck')
    wait_until(lambda: guest.requested_size() == guest.size(), STUCK_SECONDS, 'the requested size goes back to the size')
    assert guest.size() > 128 * MIB
    assert 'stuck' in guest.host.text() or 'without progress' in guest.host.text()
    # Growth takes one round trip, as ever.
    size = guest.size()
    plug(guest, 256 * MIB)
    guest.wait_size(size + 256 * MIB, 20)
    assert guest.oom_kills() == 0


def test_locked_memory_moves(kernel, installed, boot_guest):
    guest = start(kernel, installed, boot_guest, 'online_movable')
    plug(guest, 2 * GIB)
    hog = guest.start_command('exec vmhog --kind mlock --bytes 600M --hold 1000')
    hog.wait_output('touched', patience(120))
    unplug(guest, GIB)
    guest.wait_size(GIB, 30)
    assert guest.oom_kills() == 0
