# SPDX-License-Identifier: MIT
"""The guard beside a real systemd-oomd, which kills a cgroup that is under pressure for long: time at a line counts as
pressure."""

import signal

import pytest

from tests.matrix import fault
from tests.vm.rig import MIB, places, wait_until
from tests.vm.rig.late import LateChannel
from tests.vm.rig.speed import patience
from tests.vm.test_guard import breaches
from tests.vm.test_job import STANDING, connected, wait_standing

# What oomd has by default, and what distributions set.
SETTINGS = ((60, 30, False), (50, 20, True))  # the second one in the sample of the matrix
SILENT_SECONDS = 60


def start_oomd(guest, limit, seconds):
    """oomd watches user.slice, and kills what is below it."""
    guest.write('/etc/systemd/oomd.conf.d/test.conf', f'[OOM]\nDefaultMemoryPressureDurationSec={seconds}s\n')
    guest.write('/etc/systemd/system/user.slice.d/oomd.conf',
                f'[Slice]\nManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit={limit}%\n')
    guest.check('rm -f /etc/systemd/system/systemd-oomd.service /etc/systemd/system/systemd-oomd.socket; '
                'systemctl daemon-reload; systemctl restart systemd-oomd', 60)
    wait_until(lambda: 'user.slice' in guest.check('oomctl'), 30, 'oomd watches user.slice')


def killed_by_oomd(guest):
    return 'Killed' in guest.check('journalctl -o cat -u systemd-oomd')


def held_and_survives(guest, size, timeout, rate='0', hold=1, begun=None):
    """A burst of a user's program, which waits at the line and is not killed. Calls BEGUN once the program takes memory.
    Returns the program."""
    before, available = breaches(guest, 'user.slice'), guest.meminfo()['MemAvailable']
    hog = places.start(guest, 'user', f'exec vmhog --threads 2 --bytes {size} --rate {rate} --hold {hold}')
    if begun:
        wait_until(lambda: guest.meminfo()['MemAvailable'] < available - 64 * MIB, patience(60), 'the program takes memory')
        begun()
    result = hog.wait(timeout)
    assert result.status == 0, result
    assert breaches(guest, 'user.slice') > before
    assert not killed_by_oomd(guest)
    assert guest.oom_kills() == 0
    return hog


def end(guest, hog):
    """Back to what is plugged from boot on, and the monitor has learnt nothing: each burst has to wait for its memory."""
    places.stop(guest, 'user', hog)
    wait_until(lambda: connected(guest), 30, 'the actuator meets the host')
    guest.check('vmtidectl pause')
    wait_until(lambda: guest.size() == guest.requested_size(), 60, 'nothing is under way')
    if guest.size() > STANDING:
        guest.check(f'vmtidectl unplug {guest.size() - STANDING}', 30)
    guest.wait_size(lambda size: size <= STANDING + 128 * MIB, 120)
    guest.check('vmtidectl resume && systemctl restart vmtide-monitor')
    wait_until(lambda: guest.size() >= STANDING, 30, 'the standing blocks are plugged')


@pytest.fixture
def late_guest(guest):
    late = LateChannel(guest)
    guest.start_host('--host-reserve', '256M', channel=late.path)
    wait_until(lambda: connected(guest), 30, 'the actuator meets the host')
    wait_standing(guest)
    yield guest, late
    late.close()


@pytest.mark.parametrize('limit, seconds', [
    pytest.param(limit, seconds, marks=fault(
        'the host answers 2 s late, 3 s late and then not at all for 60 s, beside a systemd-oomd that kills above '
        '{limit} % of pressure for {seconds} s', 'nothing is killed', sample)) for limit, seconds, sample in SETTINGS])
def test_waiting_at_a_line_is_no_reason_to_kill(late_guest, limit, seconds):
    guest, late = late_guest
    start_oomd(guest, limit, seconds)
    a_burst_whose_memory_comes_late(guest, late)
    a_trickle_of_growth(guest, late)
    a_silent_host(guest)


def a_burst_whose_memory_comes_late(guest, late):
    """Held for the better part of 20 s, a second or more at a time."""
    late.delay = 2.0
    hog = held_and_survives(guest, '3G', patience(240))
    late.delay = 0.0
    end(guest, hog)


def a_trickle_of_growth(guest, late):
    """Memory comes in steps that reset any count of time since the last growth.

    The monitor is paused until the program takes memory, and a ballast leaves little: before the first reply, 3 s later,
    the program reaches the line on a machine of any speed.
    """
    guest.check('vmtidectl pause')
    ballast = places.start(guest, 'service', f'exec vmhog --bytes {guest.meminfo()["MemAvailable"] - 400 * MIB} --hold 600')
    ballast.wait_output('touched', patience(60))
    late.delay = 3.0
    hog = held_and_survives(guest, '2G', patience(300), rate='80M', begun=lambda: guest.check('vmtidectl resume'))
    late.delay = 0.0
    places.stop(guest, 'service', ballast)
    end(guest, hog)


def a_silent_host(guest):
    """What is asked for never comes. The lines are taken back, and what there is suffices."""
    guest.host.send(signal.SIGSTOP)
    try:
        hog = held_and_survives(guest, guest.meminfo()['MemAvailable'] - 160 * MIB, SILENT_SECONDS + patience(240),
                                hold=SILENT_SECONDS)
    finally:
        guest.host.send(signal.SIGCONT)
    end(guest, hog)
