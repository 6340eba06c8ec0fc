# SPDX-License-Identifier: MIT
"""Warnings over org.freedesktop.LowMemoryMonitor, as an ordinary GLib program hears them."""

import signal
from xml.etree import ElementTree

import pytest

from .conftest import BUILD_COPY, MONITOR, NOBODY
from .dbus_client import Client, DBusError, NAME_OWNER
from .peers import MIB, wait_until
from .test_actuator_access import members

NAME = 'org.freedesktop.LowMemoryMonitor'
PATH = '/org/freedesktop/LowMemoryMonitor'
TOTAL = 960 * MIB
# Of a headroom of 256 MiB.
LOW, MEDIUM, CRITICAL = 200 * MIB, 100 * MIB, 40 * MIB


def configure(machine, warnings):
    (machine.folder / 'monitor.conf').write_text(f'[Monitor]\nLowMemoryWarnings={warnings}\n', encoding='ascii')


def start_monitor(machine, warnings='yes', mode=''):
    configure(machine, warnings + mode)
    machine.start_monitor(f'--config={machine.folder}/monitor.conf')
    wait_until(lambda: machine.get('Level', at=MONITOR) is not None, 10, 'the monitor is on the bus')


def reload_monitor(machine, warnings):
    configure(machine, warnings)
    before = machine.log('monitor').count('configuration loaded again')
    machine.processes['monitor'].send_signal(signal.SIGHUP)
    wait_until(lambda: machine.log('monitor').count('configuration loaded again') > before, 10, 'it has been read')


def owner(client):
    try:
        return client.call('GetNameOwner', 's', NAME, at=NAME_OWNER)[0]
    except DBusError as error:
        assert error.name == 'NameHasNoOwner'
        return None


def listen(machine):
    """The GLib program, and what it has heard."""
    machine.start('listener', 'env', f'DBUS_SYSTEM_BUS_ADDRESS={machine.address}', 'setpriv', f'--reuid={NOBODY}',
                  f'--regid={NOBODY}', '--clear-groups', BUILD_COPY / 'memory-listener')
    wait_until(lambda: '\n' in machine.log('listener'), 10, 'the program is there')
    # Another implementation would mean that GLib has found no monitor.
    assert machine.log('listener') == 'listening by GMemoryMonitorDBus\n'


def heard(machine):
    return [int(line.split()[1]) for line in machine.log('listener').splitlines()[1:]]


def wait_heard(machine, level):
    """Within a repetition of what may have been missed."""
    wait_until(lambda: level in heard(machine), 20, f'the program hears of level {level}')


@pytest.fixture
def client(machine):
    client = Client(machine.folder / 'bus')
    yield client
    client.close()


@pytest.fixture
def refused(machine):
    """The host keeps what it has for itself."""
    with open('/proc/meminfo', encoding='ascii') as file:
        total = int(file.readline().split()[1])
    machine.start_host('--host-reserve', f'{total // 1024}M')
    machine.start_actuator()
    machine.wait_connected()
    return machine


def start(machine, client):
    start_monitor(machine)
    wait_until(lambda: owner(client), 10, 'the name is had')
    listen(machine)


def test_a_glib_program_is_warned_when_the_host_refuses(refused, client):
    start(refused, client)
    for available, level in ((LOW, 50), (MEDIUM, 100), (CRITICAL, 255)):
        refused.set_memory(TOTAL, available)
        wait_heard(refused, level)
    assert heard(refused) == [50, 100, 255]
    assert refused.qemu.requests() == []
    log = refused.log('monitor')
    for word in ('low', 'medium', 'critical'):
        assert f'warned programs, {word}: ' in log
    # What gets better, or stays, is no news.
    refused.set_memory(TOTAL, MEDIUM)
    wait_until(lambda: refused.get('Available', at=MONITOR) == [str(MEDIUM)], 10, 'it is sampled')
    assert heard(refused) == [50, 100, 255]


def test_a_glib_program_is_warned_when_nobody_is_there_to_ask(machine, client):
    """Neither actuator nor host; and the object is what its specification says."""
    start(machine, client)
    text = client.call('Introspect', at=(NAME, PATH, 'org.freedesktop.DBus.Introspectable'))[0]
    assert [m[:2] + m[4:5] for m in members(ElementTree.fromstring(text), NAME)] == [
        ('signal', 'LowMemoryWarning', (('level', 'y', None),))]
    machine.set_memory(TOTAL, MEDIUM)
    wait_heard(machine, 100)
    assert heard(machine) == [100]


def test_nobody_is_warned_when_memory_comes(running, client):
    start(running, client)
    running.set_memory(TOTAL, MEDIUM)
    wait_until(lambda: running.qemu.size >= 256 * MIB, 10, 'memory is plugged')
    running.set_memory(TOTAL + running.qemu.size, 800 * MIB)
    wait_until(lambda: running.get('Level', at=MONITOR) != ['"critical"'], 10, 'it is over')
    assert heard(running) == [] and 'warned programs' not in running.log('monitor')


@pytest.mark.parametrize('mode', ('dry-run', 'paused'))
def test_a_monitor_that_does_nothing_warns_of_nothing(refused, client, mode):
    start_monitor(refused, mode=f'\nMode={mode}')
    wait_until(lambda: owner(client), 10, 'the name is had')
    listen(refused)
    refused.set_memory(TOTAL, CRITICAL)
    wait_until(lambda: refused.get('Level', at=MONITOR) == ['"critical"'], 10, 'memory is short')
    reload_monitor(refused, 'yes')
    wait_heard(refused, 255)
    assert heard(refused) == [255]


def test_switched_by_a_reload(refused, client):
    start_monitor(refused, 'no')
    refused.set_memory(TOTAL, CRITICAL)
    wait_until(lambda: refused.get('Level', at=MONITOR) == ['"critical"'], 10, 'memory is short')
    assert owner(client) is None and 'warned programs' not in refused.log('monitor')
    reload_monitor(refused, 'yes')
    wait_until(lambda: owner(client), 10, 'the name is had')
    wait_until(lambda: 'warned programs, critical' in refused.log('monitor'), 20, 'it goes on')
    reload_monitor(refused, 'no')
    wait_until(lambda: owner(client) is None, 10, 'the name is given back')


def test_off_by_default(refused, client):
    refused.start_monitor()
    wait_until(lambda: refused.get('Level', at=MONITOR) is not None, 10, 'the monitor is on the bus')
    refused.set_memory(TOTAL, CRITICAL)
    wait_until(lambda: refused.get('Level', at=MONITOR) == ['"critical"'], 10, 'memory is short')
    assert owner(client) is None and NAME not in refused.log('monitor')


def test_another_owner_is_left_alone(refused, client):
    assert client.call('RequestName', 'su', NAME, 1, at=NAME_OWNER) == (1,)  # it would even let itself be replaced
    client.call('AddMatch', 's', f"type='signal',interface='{NAME}'", at=NAME_OWNER)
    start_monitor(refused)
    wait_until(lambda: 'another service owns it' in refused.log('monitor'), 10, 'the monitor logs the other owner')
    refused.set_memory(TOTAL, CRITICAL)
    wait_until(lambda: refused.get('Level', at=MONITOR) == ['"critical"'], 10, 'memory is short')
    assert owner(client) == client.name
    assert [s for s in client.signals if s[0] == 'LowMemoryWarning'] == []
    assert refused.log('monitor').count(NAME) == 1
    # It does not wait for the name; a reload tries again.
    assert client.call('ReleaseName', 's', NAME, at=NAME_OWNER) == (1,)
    assert owner(client) is None
    reload_monitor(refused, 'yes')
    wait_until(lambda: owner(client), 10, 'the name is had')


def test_the_name_comes_back_with_the_bus(machine, client):
    start_monitor(machine)
    wait_until(lambda: owner(client), 10, 'the name is had')
    machine.kill('bus')
    (machine.folder / 'bus').unlink()
    machine.start('bus', '/usr/bin/dbus-daemon', f'--config-file={machine.folder}/bus.conf', '--nofork', '--nopidfile',
                  '--nosyslog')
    wait_until((machine.folder / 'bus').exists, 10, 'the bus is there again')
    again = Client(machine.folder / 'bus')
    wait_until(lambda: owner(again), 20, 'the name is had again')
    again.close()
