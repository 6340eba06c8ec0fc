# SPDX-License-Identifier: MIT
"""Two real guests on a host whose budget fits the peak of one."""

import re
from pathlib import Path

import pytest

from tests.vm.rig import GIB, MIB, wait_until
from tests.vm.rig.speed import patience
from tests.vm.test_job import connected

KERNEL = '6.12'
BUDGET = 3 * GIB + 256 * MIB
PEAK = '2560M'
SERVED_SECONDS = 5


def available():
    return int(re.search(r'^MemAvailable: +(\d+)', Path('/proc/meminfo').read_text(encoding='ascii'), re.M)[1]) * 1024


def option(guest, name):
    return f'{name},channel={guest.channel_path},qmp={guest.host_qmp_path},device={"+".join(guest.devices)},max=8G'


def start_one_host(one, two):
    """What is left beside the reserve, and beside boot memory that was not touched yet, is the budget."""
    untouched = sum(max(0, GIB - guest.rss()) for guest in (one, two))
    reserve = (available() - untouched - BUDGET) // MIB
    one.start_host(f'--host-reserve={reserve}M', '--vm', option(two, 'two'), name='one')
    for guest in one, two:
        wait_until(lambda guest=guest: connected(guest), 30, 'the actuator meets the host')


@pytest.mark.alone
def test_one_sleeps_the_other_grows(boot_guest, installed):
    one = boot_guest(KERNEL, destdir=installed)
    # By itself it would give back after half a minute or more.
    two = boot_guest(KERNEL, destdir=installed, files={'/etc/vmtide/monitor.conf': ('[Monitor]\nSettleTime=1min\n')})
    start_one_host(one, two)
    hog = two.start_command(f'exec vmhog --bytes {PEAK} --rate 300M --hold 1000', slice_name='user.slice')
    hog.wait_output('touched', patience(120))
    assert two.size() >= 2 * GIB
    # The other one wakes just as this one has done its work.
    hog.kill()
    hog.wait(20)
    woken = one.start_command(f'exec vmhog --bytes {PEAK} --rate 60M --hold 0', slice_name='user.slice')
    wait_until(lambda: 'one: refused host-memory' in one.host.text(), patience(60), 'memory is short')
    had, size = one.requested_size(), two.size()
    wait_until(lambda: two.size() < size, patience(SERVED_SECONDS), 'two gives back')
    wait_until(lambda: one.requested_size() > had, patience(SERVED_SECONDS), 'one is served')
    assert woken.wait(patience(120)).status == 0
    assert 'two: guest asked to shrink' in one.host.text()
    assert (one.oom_kills(), two.oom_kills()) == (0, 0)
    assert one.size() >= 2 * GIB
