# SPDX-License-Identifier: MIT
"""The guard on real slices. A client arms it in the monitor's place, and nobody grows but the test: what holds a burst
back here is the guard alone."""

import re
import time

import pytest

from tests.vm.rig import GIB, MIB, wait_until
from tests.vm.rig.paths import build_dir
from tests.vm.rig.speed import patience

ACTUATOR = 'org.vmtide.Actuator1 /org/vmtide/Actuator1 org.vmtide.Actuator1'
CLIENT = '/usr/local/bin/vmplug'
SLICES = ('user.slice', 'system.slice')
UNGUARDED = {'init.scope', 'vmtide.slice'}
HEADROOM = 256 * MIB
OPEN_SECONDS = 5
# A burst is held when its usage grows by at most so many percent in so many seconds.
HELD_SECONDS = 1
HELD_GROWTH = 5


@pytest.fixture
def guest(kernel, installed, boot_guest):
    """A guest without the monitor."""
    client = (build_dir() / 'tests/vm/guest/vmplug').read_bytes()
    guest = boot_guest(kernel, destdir=installed, units=('vmtide-actuator.service',), files={CLIENT: (client, 0o755)})
    guest.start_host('--host-reserve', '256M', maximum='5G')
    wait_connected(guest)
    return guest


def property_of(guest, name):
    result = guest.run(f'busctl get-property {ACTUATOR} {name}', 20)
    return result.stdout.split(' ', 1)[1].strip() if result.status == 0 else None


def wait_connected(guest):
    wait_until(lambda: property_of(guest, 'HostConnected') == 'true', 30, 'the actuator meets the host')


def high(guest, slice_name):
    text = guest.read(f'/sys/fs/cgroup/{slice_name}/memory.high').strip()
    return text if text == 'max' else int(text)


def usage(guest, slice_name):
    return int(guest.read(f'/sys/fs/cgroup/{slice_name}/memory.current'))


def breaches(guest, slice_name):
    return int(re.search(r'^high (\d+)$', guest.read(f'/sys/fs/cgroup/{slice_name}/memory.events.local'), re.M).group(1))


def standing(guest):
    """The top-level cgroups that have a line."""
    return [path.split('/')[4] for path in guest.run('grep -L max /sys/fs/cgroup/*/memory.high').stdout.splitlines()]


def all_stand(guest):
    """Every top-level cgroup has a line, but those that are never guarded."""
    found = guest.check('ls -d /sys/fs/cgroup/*/memory.high').splitlines()
    wanted = {path.split('/')[4] for path in found} - UNGUARDED
    assert wanted >= set(SLICES)
    return set(standing(guest)) == wanted


def arm(guest):
    client = guest.start_command(f'exec {CLIENT} arm {HEADROOM}')
    client.wait_output('armed', 20)
    wait_until(lambda: all_stand(guest), OPEN_SECONDS, 'every top-level cgroup has a line')
    return client


def leave(client):
    client.kill()
    client.wait(10)


def wait_open(guest, what):
    wait_until(lambda: standing(guest) == [], OPEN_SECONDS, f'memory.high reads max: {what}')


def plug(guest, size):
    guest.check(f'{CLIENT} plug {size}', patience(90))


def test_it_fails_open(guest):
    assert standing(guest) == []
    client = arm(guest)
    assert int(property_of(guest, 'GuardHeadroom')) == HEADROOM
    assert high(guest, 'vmtide.slice') == 'max'
    leave(client)
    wait_open(guest, 'who armed it was killed')

    client = arm(guest)
    guest.check('systemctl kill -s KILL vmtide-actuator')
    wait_open(guest, 'the actuator was killed')
    leave(client)
    wait_connected(guest)

    client = arm(guest)
    guest.host.stop()
    wait_open(guest, 'there is no host')
    guest.host.restart()
    wait_connected(guest)
    wait_until(lambda: all_stand(guest), 10, 'armed again, with the host')

    plug(guest, 5 * GIB - guest.size())
    wait_open(guest, 'at max size')
    guest.check(f'{CLIENT} unplug {GIB}')
    wait_until(lambda: all_stand(guest), 30, 'armed again, below max size')

    guest.check('systemctl kill -s STOP vmtide-actuator; systemctl kill -s KILL vmtide-actuator')
    wait_open(guest, 'the actuator hung and was killed')
    leave(client)
    wait_connected(guest)
    client = arm(guest)
    guest.check('systemctl stop vmtide-actuator')
    assert standing(guest) == []
    leave(client)


def test_others_write_too(guest):
    client = arm(guest)
    guest.check('systemctl daemon-reload')
    wait_until(lambda: all_stand(guest), 2, 'armed again after a reload')

    # The administrator's, above our line, then below it, and his to take back.
    guest.check('systemctl set-property --runtime user.slice MemoryHigh=4G')
    wait_until(lambda: high(guest, 'user.slice') != 4 * GIB, 2, 'the lower line stands')
    guest.check('systemctl set-property --runtime user.slice MemoryHigh=40M')
    wait_until(lambda: high(guest, 'user.slice') == 40 * MIB and high(guest, 'system.slice') != 'max', 2, 'his stands')
    assert 'user.slice=41943040' in guest.read('/run/vmtide/guard')
    leave(client)
    wait_until(lambda: high(guest, 'system.slice') == 'max', OPEN_SECONDS, 'disarmed')
    assert high(guest, 'user.slice') == 40 * MIB
    client = guest.start_command(f'exec {CLIENT} arm {HEADROOM}')
    wait_until(lambda: high(guest, 'system.slice') != 'max', OPEN_SECONDS, 'armed')
    assert high(guest, 'user.slice') == 40 * MIB
    guest.check('systemctl kill -s KILL vmtide-actuator')
    wait_until(lambda: high(guest, 'system.slice') == 'max', OPEN_SECONDS, 'taken back after the kill')
    assert high(guest, 'user.slice') == 40 * MIB
    leave(client)
    guest.check('systemctl stop vmtide-actuator')
    assert high(guest, 'user.slice') == 40 * MIB


def at_line(guest, name):
    line = high(guest, name)
    return line != 'max' and usage(guest, name) >= line * 98 // 100


def wait_held(guest, slices, hogs):
    """The burst has come to its lines and waits there: it has neither its memory nor been killed, and it hardly grows.
    A line does not stop it at once: past it, the kernel makes it slower the further it gets."""
    wait_until(lambda: all(breaches(guest, name) > 0 for name in slices), patience(60), 'the lines are reached')
    seen = []  # (when, usage), the newest last

    def still():
        seen.append((time.monotonic(), sum(usage(guest, name) for name in slices)))
        assert all(hog.poll() is None and 'touched' not in hog.stdout() for hog in hogs), 'nothing held the burst'
        before = [used for when, used in seen if when <= seen[-1][0] - HELD_SECONDS]
        return before and seen[-1][1] <= before[-1] * (100 + HELD_GROWTH) // 100 and \
            all(at_line(guest, name) for name in slices)

    wait_until(still, patience(60), 'and hold it', step=0.1)
    assert guest.oom_kills() == 0


def burst(guest, name, size):
    return guest.start_command(f'exec vmhog --threads 2 --bytes {size} --hold 1', slice_name=name)


def test_bursts_are_held(guest):
    """3 GiB at full speed, in one slice, then in two at once, then where the cache is full."""
    client = arm(guest)
    for slices, size, cache in ((('user.slice',), '3G', False), (SLICES, '1500M', False), (('user.slice',), '3G', True)):
        if cache:
            read = guest.start_command('exec head -c 1200M /dev/vda >/dev/null', slice_name='user.slice')
            assert read.wait(patience(120)).status == 0
            assert guest.meminfo()['MemFree'] < HEADROOM + 64 * MIB
        hogs = [burst(guest, name, size) for name in slices]
        wait_held(guest, slices, hogs)
        before = [high(guest, name) for name in slices]
        plug(guest, 512 * MIB)
        wait_until(lambda: all(high(guest, name) > line for name, line in zip(slices, before)), patience(10),
                   'the lines are raised')
        for _ in range(6):
            plug(guest, 512 * MIB)
        for hog in hogs:
            assert hog.wait(patience(120)).status == 0
        assert guest.oom_kills() == 0
        guest.check(f'{CLIENT} unplug {7 * 512 * MIB}')
        guest.wait_size(lambda size: size < 256 * MIB, patience(60))
        guest.check('echo 3 >/proc/sys/vm/drop_caches')
    leave(client)
