# SPDX-License-Identifier: MIT
"""Each method with the values that nobody should send, in a flood, and through GLib's tool."""

import os
import re
import statistics
import subprocess
import time

import pytest

from .actuator_stage import get, refusal, refused, stage
from tests.matrix import malice

from .conftest import ACTUATOR, MONITOR, NOBODY
from .dbus_client import Client, DBusError
from .peers import GIB, MIB, wait_until
from .test_malice_user import flat, held

MOST = 2**64 - 1
LONG = 'x' * 300000
# Cut after any number of bytes but multiples of three it is no UTF-8, which cannot be sent.
WIDE = '€' * 1000
assert stage

# What a method answers to the extremes of its arguments; None: it takes them.
ANSWERS = (
    ('Plug', 'ts', (2 * MIB, LONG), 'InvalidSize'),
    ('Plug', 'ts', (2 * MIB, 'bell\a'), 'InvalidSize'),
    ('Unplug', 'ts', (2 * MIB, LONG), 'InvalidSize'),
    ('SetLimits', 'ttb', (MOST, 0, True), None),  # the configuration's own, as the manual says
    ('SetLimits', 'ttb', (MOST - 1, MOST - 1, False), 'LimitExceeded'),
    ('SetLimits', 'ttb', (2 * GIB, GIB, False), 'InvalidSize'),
    ('SetLimits', 'ttb', (0, 1, False), 'InvalidSize'),
    ('Reserve', 'tss', (0, 'a', 'b'), 'InvalidSize'),
    ('Reserve', 'tss', (MOST, 'a', 'b'), 'LimitExceeded'),
    ('Reserve', 'tss', (2**63, 'a', 'b'), 'LimitExceeded'),
    ('Reserve', 'tss', (MIB, '', 'b'), 'InvalidArgs'),
    ('Reserve', 'tss', (MIB, LONG, 'b'), 'InvalidArgs'),
    ('Reserve', 'tss', (MIB, 'a', LONG), 'InvalidArgs'),
    ('OpenPressureTrigger', 'stt', ('some', MOST, MOST), 'InvalidArgs'),
    ('OpenPressureTrigger', 'stt', ('some', 0, 2000000), 'InvalidArgs'),
    ('OpenPressureTrigger', 'stt', ('some', 5000, 49999), 'InvalidArgs'),
    ('OpenPressureTrigger', 'stt', (LONG, 5000, 2000000), 'InvalidArgs'),
    ('OpenPressureTrigger', 'stt', (WIDE, 5000, 2000000), 'InvalidArgs'),
    ('ArmGuard', 't', (MOST,), 'InvalidSize'),
    ('ArmGuard', 't', (1,), None),
    ('Report', 'ttus', (MOST, MOST, 0, 'normal'), 'InvalidArgs'),
    ('Report', 'ttus', (1, 1, 10001, 'normal'), 'InvalidArgs'),
    ('Report', 'ttus', (1, 1, 2**32 - 1, LONG), 'InvalidArgs'),
    ('Report', 'ttus', (1, 1, 0, WIDE), 'InvalidArgs'),
    ('Report', 'ttus', (0, 0, 0, 'normal'), None),
    ('DeclineShrink', 'ts', (MOST, 'busy'), 'InvalidArgs'),
    ('DeclineShrink', 'ts', (1, LONG), 'InvalidArgs'),
    ('DeclineShrink', 'ts', (1, WIDE), 'InvalidArgs'),
    ('Reclaim', 't', (0,), 'InvalidSize'),
    ('Reclaim', 't', (MOST,), 'LimitExceeded'),
)


@pytest.mark.parametrize('private', (False, True), ids=('bus', 'private'))
def test_extremes(stage, private):
    stage.up(private=False)
    client = stage.client(private=private)
    for member, signature, arguments, name in ANSWERS:
        serial = client.send(member, signature, *arguments, at=ACTUATOR)
        if name is None:
            client.reply(serial)
        else:
            error = refusal(client, serial)
            assert (member, arguments[:1], error.name) == (member, arguments[:1], name), error
            assert 20 < len(error.text) < 600, error
    # Nothing of it has reached the host but the report.
    ops = []
    while (line := stage.host.line(0.2)) is not None:
        ops.append(line.get('op'))
    assert 'resize' not in ops and get(client, 'RequestedSize') == GIB


# Member, and arguments of types that it does not have.
WRONG = (('Plug', 'su', ('2M', 1)), ('Unplug', 't', (1,)), ('SetLimits', 'tt', (0, 1)), ('Reserve', 'ts', (1, 'a')),
         ('ListReservations', 't', (1,)), ('OpenPressureTrigger', 's', ('some',)), ('ArmGuard', 'x', (-1,)),
         ('Report', 'tt', (1, 2)), ('DeclineShrink', 'st', ('busy', 1)), ('Reclaim', 's', ('1M',)), ('Fly', '', ()))


def test_wrong_types(stage):
    stage.up(private=False)
    client = stage.client()
    for member, signature, arguments in WRONG:
        wanted = 'UnknownMethod' if member == 'Fly' else 'InvalidArgs'
        assert refused(client, member, signature, *arguments).full_name == f'org.freedesktop.DBus.Error.{wanted}', member


def test_monitor_extremes(machine):
    machine.start_monitor()
    wait_until(lambda: machine.get('Level', at=MONITOR) is not None, 10, 'the monitor is on the bus')
    client = Client(machine.folder / 'bus')
    for member, signature, arguments in (
            ('Pause', 'su', (LONG, 1)), ('Pause', 'su', ('a\nb', 1)), ('Pause', 's', ('a',)), ('Resume', 's', ('a',)),
            ('Explain', 't', (1,))):
        with pytest.raises(DBusError) as caught:
            client.call(member, signature, *arguments, at=MONITOR)
        assert caught.value.name == 'InvalidArgs', (member, caught.value)
    client.call('Pause', 'su', '', 2**32 - 1, at=MONITOR)
    client.call('Resume', at=MONITOR)
    client.call('Resume', at=MONITOR)  # what has ended may be ended again
    assert client.call('Explain', 'u', 0, at=MONITOR) == ([],)
    assert 0 < len(client.call('Explain', 'u', 2**32 - 1, at=MONITOR)[0]) <= 1000
    client.close()


def test_a_pause_ends_by_itself(machine):
    machine.start_monitor()
    wait_until(lambda: machine.get('Level', at=MONITOR) is not None, 10, 'the monitor is on the bus')
    machine.call('Pause', 'su', 'test', 1, at=MONITOR)
    assert machine.get('Mode', 'PauseReason', at=MONITOR) == ['"paused"', '"test"']
    wait_until(lambda: machine.get('Mode', at=MONITOR) == ['"auto"'], 5, 'it has ended')
    assert machine.get('PausedUntil', 'PauseReason', at=MONITOR) == ['0', '""']


def test_a_burst_of_calls_keeps_nobody_waiting(stage):
    """1,000 calls from one client, none of which it reads the answer to; another is answered as if it were alone."""
    stage.up(private=False)
    flooder, other = stage.client(), stage.client()
    serials = [flooder.send('SetLimits', 'ttb', 2 * GIB, GIB, False, at=ACTUATOR) for _ in range(1000)]
    times = []
    for _ in range(21):
        begun = time.monotonic()
        assert get(other, 'Size') == GIB
        times.append(time.monotonic() - begun)
    assert statistics.median(times) < 0.1, times
    # And it is answered, each time, by the actuator or by the bus daemon, which has a limit of its own.
    names = [refusal(flooder, serial).name for serial in serials]
    assert set(names) <= {'InvalidSize', 'LimitExceeded', 'LimitsExceeded'} and names.count('InvalidSize') > 0


def gdbus(machine, *arguments):
    result = subprocess.run(['gdbus', *map(str, arguments)], capture_output=True, text=True, timeout=20, check=False,
                            stdin=subprocess.DEVNULL, env={**os.environ, 'DBUS_SYSTEM_BUS_ADDRESS': machine.address})
    return result.stdout + result.stderr


def test_gdbus(running):
    at = ('--system', '--dest', ACTUATOR[0], '--object-path', ACTUATOR[1])
    shown = gdbus(running, 'introspect', *at)
    assert re.search(r'Plug\(in +t bytes,\s+in +s reason,\s+out +t requested_size\)', shown) and 'readonly t Size = ' in shown
    assert gdbus(running, 'call', *at, '--method', f'{ACTUATOR[2]}.Plug', 2 * MIB, 'test') == f'(uint64 {2 * MIB},)\n'
    assert gdbus(running, 'call', *at, '--method', 'org.freedesktop.DBus.Properties.Get', ACTUATOR[2],
                 'RequestedSize') == f'(<uint64 {2 * MIB}>,)\n'
    assert 'org.vmtide.Error.LimitExceeded' in gdbus(running, 'call', *at, '--method', f'{ACTUATOR[2]}.Plug', 2**40, 'test')
    running.start('gdbus', 'env', f'DBUS_SYSTEM_BUS_ADDRESS={running.address}', 'stdbuf', '-oL', 'gdbus', 'monitor', *at)
    wait_until(lambda: 'is owned by' in running.log('gdbus'), 10, 'it listens')
    running.call('Plug', 'ts', 2 * MIB, 'test')
    wait_until(lambda: 'org.freedesktop.DBus.Properties.PropertiesChanged' in running.log('gdbus'), 10, 'it hears')


NAME_OF_4_MIB = 'x' * (4 * MIB)
PROPERTIES = 'org.freedesktop.DBus.Properties'
# Member, arguments, path: sd-bus would copy the long string into its error reply.
REPEATED = (('GetAll', 's', (NAME_OF_4_MIB,), None), ('Get', 'ss', (NAME_OF_4_MIB, 'Size'), None),
            ('Get', 'ss', ('org.vmtide.None1', NAME_OF_4_MIB), None),
            ('Set', 'ssv', (NAME_OF_4_MIB, 'Size', ('t', 1)), None),
            ('Set', 'ssv', ('org.freedesktop.LogControl1', 'LogLevel', ('s', NAME_OF_4_MIB)), None),
            ('GetAll', 's', ('org.vmtide.None1',), '/' + 'x' * 60000))  # sd-bus itself drops longer paths


def check_long_strings_are_not_repeated(client, process, name, path):
    """The daemon refuses each call with a short error, and its memory does not grow by 20 calls of each kind."""
    before = held(process)
    for member, signature, arguments, other in REPEATED:
        error = refusal(client, client.send(member, signature, *arguments, at=(name, other or path, PROPERTIES)))
        assert error.name == 'InvalidArgs' and 'the limit' in error.text and '255' in error.text and len(error.text) < 200, error
        serials = [client.send(member, signature, *arguments, at=(name, other or path, PROPERTIES)) for _ in range(20)]
        for serial in serials:
            refusal(client, serial)
    wait_until(lambda: flat(before, held(process)), 10, 'the memory of the daemon has not grown')


@pytest.mark.parametrize('private', (False, True), ids=('bus', 'private'))
@malice('any local user calls the actuator\'s standard interfaces with names of 4 MiB', 'the daemon refuses each call with a short error and keeps no memory')
def test_long_strings_at_the_actuator(stage, private):
    stage.up(private=False)
    check_long_strings_are_not_repeated(stage.client(private=private, uid=0 if private else NOBODY), stage.processes['actuator'],
                                        ACTUATOR[0], ACTUATOR[1])


@malice('any local user calls the monitor\'s standard interfaces with names of 4 MiB', 'the daemon refuses each call with a short error and keeps no memory')
def test_long_strings_at_the_monitor(machine):
    machine.start_monitor()
    wait_until(lambda: machine.get('Level', at=MONITOR) is not None, 10, 'the monitor is on the bus')
    client = Client(machine.folder / 'bus', uid=NOBODY)
    check_long_strings_are_not_repeated(client, machine.processes['monitor'], MONITOR[0], MONITOR[1])
    client.close()
