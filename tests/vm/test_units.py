# SPDX-License-Identifier: MIT
"""The units in a real guest: what systemd, its sandbox and its watchdog make of the daemons. That these do their whole
job under them is what the other tests show."""

import pytest

from tests.vm.rig import MIB, wait_until
from tests.vm.test_job import ACTUATOR, start_host, wait_standing

UNITS = ('vmtide-actuator', 'vmtide-monitor', 'vmtide-host')
# A VM that is not there: enough for the daemon to run.
HOST_CONF = '[Host]\nHostReserve=256M\n[VM none]\nChannel=/run/none/channel\nQMP=/run/none/qmp\nDevice=vm0\n'
PLAIN = 'setpriv --reuid=65534 --regid=65534 --clear-groups'


def show(guest, unit, *names):
    text = guest.check(f'systemctl show {unit} -p {",".join(names)}')
    values = dict(line.split('=', 1) for line in text.splitlines())
    return [values[name] for name in names]


def active(guest, unit):
    return show(guest, unit, 'ActiveState', 'SubState') == ['active', 'running']


def log(guest, unit, *arguments):
    return guest.check(f'journalctl -o cat -u {unit} {" ".join(arguments)}')


@pytest.fixture
def guest(installed, boot_guest):
    guest = boot_guest(destdir=installed, units=[f'{unit}.service' for unit in UNITS],
                       files={'/etc/vmtide/host.conf': HOST_CONF})
    start_host(guest)
    return guest


def test_units(guest):
    for unit in UNITS:
        assert active(guest, unit), log(guest, unit)
        assert show(guest, unit, 'Slice', 'Type', 'NRestarts') == ['vmtide.slice', 'notify', '0']
        assert f'/{unit}.service' in guest.check(f'cat /proc/{show(guest, unit, "MainPID")[0]}/cgroup')
    reload_keeps_the_process(guest)
    log_level_is_systemctls(guest)
    nothing_was_denied(guest)
    a_hang_is_ended(guest)


def reload_keeps_the_process(guest):
    for unit in UNITS:
        before = show(guest, unit, 'MainPID')
        guest.check(f'systemctl reload {unit}')
        wait_until(lambda name=unit: 'configuration loaded again' in log(guest, name), 10, f'{unit} has read it')
        wait_until(lambda name=unit: active(guest, name), 10, f'{unit} runs on')
        assert show(guest, unit, 'MainPID', 'Result') == [*before, 'success']


def log_level_is_systemctls(guest):
    for unit in UNITS[:2]:
        assert guest.check(f'{PLAIN} systemctl service-log-level {unit}').strip() == 'info'
        assert guest.run(f'{PLAIN} systemctl service-log-level {unit} debug', 20).status != 0
        assert guest.run(f'systemctl service-log-level {unit} loud', 20).status != 0
        guest.check(f'systemctl service-log-level {unit} debug')
        assert guest.check(f'systemctl service-log-level {unit}').strip() == 'debug'
        assert guest.check(f'systemctl service-log-target {unit}').strip() == 'journal'
        guest.check(f'systemctl service-log-level {unit} info')
        assert 'log level is info now, was debug' in log(guest, unit)


def nothing_was_denied(guest):
    """A plug, with memory brought online; and no warning but of the host that came after its guest."""
    wait_standing(guest)
    size = guest.size()
    guest.check(f'busctl --timeout=20 call {ACTUATOR} Plug ts {256 * MIB} test')
    guest.wait_size(lambda now: now >= size + 256 * MIB, 20)
    for unit in UNITS[:2]:
        lines = log(guest, unit, '-p warning').splitlines()
        assert [line for line in lines if 'nobody at the other end' not in line] == []
    # The host says that its VM is not there, and nothing else.
    assert all('none' in line for line in log(guest, UNITS[2], '-p warning').splitlines())


def a_hang_is_ended(guest):
    for unit in UNITS:
        guest.write(f'/run/systemd/system/{unit}.service.d/quick.conf', '[Service]\nWatchdogSec=2s\n')
    guest.check(f'systemctl daemon-reload && systemctl restart {" ".join(UNITS)}')
    for unit in UNITS:
        guest.check(f'kill -STOP {show(guest, unit, "MainPID")[0]}')
    for unit in UNITS:
        wait_until(lambda name=unit: show(guest, name, 'NRestarts') != ['0'] and active(guest, name), 30,
                   f'{unit} is started again')
        assert 'Watchdog timeout' in log(guest, unit)
