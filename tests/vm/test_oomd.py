# SPDX-License-Identifier: MIT
"""The guard beside a real systemd-oomd, which kills a cgroup that is under pressure for long: time at a line counts as
pressure."""

import signal

import pytest

from tests.vm.rig import MIB, places, wait_until
from tests.vm.rig.late import LateChannel
from tests.vm.test_job import connected

# What oomd has by default, and what distributions set.
SETTINGS = ((60, 30), (50, 20))
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


def burst(guest, size, rate='0', hold=1):
    return places.start(guest, 'user', f'exec vmhog --threads 2 --bytes {size} --rate {rate} --hold {hold}')


def expect_survival(guest, hog, timeout):
    assert hog.wait(timeout).status == 0, hog.stderr()
    assert not killed_by_oomd(guest)
    assert guest.oom_kills() == 0


def end(guest, hog):
    places.stop(guest, 'user', hog)
    guest.check('systemctl restart vmtide-monitor')
    wait_until(lambda: connected(guest), 30, 'the actuator meets the host')


@pytest.fixture
def late_guest(guest):
    late = LateChannel(guest)
    guest.start_host('--host-reserve', '256M', channel=late.path)
    wait_until(lambda: connected(guest), 30, 'the actuator meets the host')
    wait_until(lambda: guest.size() >= 256 * MIB, 30, 'the standing blocks are plugged')
    yield guest, late
    late.close()


def test_waiting_at_a_line_is_no_reason_to_kill(late_guest):
    guest, late = late_guest
    for limit, seconds in SETTINGS:
        start_oomd(guest, limit, seconds)
        a_burst_whose_memory_comes_late(guest, late)
        a_trickle_of_growth(guest, late)
        a_silent_host(guest, late, guest.meminfo()['MemAvailable'])


def a_burst_whose_memory_comes_late(guest, late):
    """Held for the better part of 20 s, a second or more at a time."""
    late.delay = 2.0
    hog = burst(guest, '3G')
    expect_survival(guest, hog, 240)
    late.delay = 0.0
    end(guest, hog)


def a_trickle_of_growth(guest, late):
    """Memory comes in steps that reset any count of time since the last growth."""
    late.delay = 3.0
    hog = burst(guest, '2G', rate='40M')
    expect_survival(guest, hog, 300)
    late.delay = 0.0
    end(guest, hog)


def a_silent_host(guest, late, available):
    """What is asked for never comes. The lines are taken back, and what there is suffices."""
    guest.host.send(signal.SIGSTOP)
    try:
        hog = burst(guest, available - 160 * MIB, hold=SILENT_SECONDS)
        expect_survival(guest, hog, SILENT_SECONDS + 240)
    finally:
        guest.host.send(signal.SIGCONT)
    end(guest, hog)
