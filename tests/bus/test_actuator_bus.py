# SPDX-License-Identifier: MIT
"""What listeners hear, the bus that goes and comes back, triggers, onlining, the process."""

import os
import signal
import subprocess
import time

import pytest

from tests.matrix import malice

from .actuator_stage import bare_stage, CONFIG, get, plug, refused, stage
from .conftest import ACTUATOR, BUILD, NOBODY
from .dbus_client import Client, DBusError, NAME_OWNER
from .peers import GIB, MIB, wait_until


# What listeners hear


@pytest.mark.parametrize('private', (False, True), ids=('bus', 'private'))
def test_sizes_are_told_at_a_pace_and_the_last_one_always(stage, private):
    client = stage.up(private=private)
    client.pump(0.3)
    client.signals.clear()
    begun = time.monotonic()
    for i in range(1, 101):
        stage.host.say('size', size=GIB + i * 2 * MIB, requested_size=GIB + 200 * MIB)
        client.pump(0.01)
    took = time.monotonic() - begun
    client.pump(0.3)  # what was held back
    changes = [(values, at) for name, values, at in client.signals if name == 'SizeChanged']
    assert 2 <= len(changes) <= 2 + 10 * took
    # Each begins where the one before ended.
    ends = [GIB] + [values[1] for values, _ in changes]
    assert [values[0] for values, _ in changes] == ends[:-1] and ends[-1] == GIB + 200 * MIB
    assert {values[2] for values, _ in changes} == {'host'}
    properties = [values[1] for name, values, _ in client.signals if name == 'PropertiesChanged']
    told = [p['Size'] for p in properties if 'Size' in p]
    assert told[-1] == GIB + 200 * MIB and properties[-1].get('State', 'idle') == 'idle'
    if private:
        assert len(told) == 100  # the monitor waits for nothing
    else:
        assert len(properties) <= 2 + 10 * took


def test_every_property_is_told(stage):
    client = stage.up()
    client.pump(0.2)
    client.signals.clear()
    stage.host.say('limits', min_size=512 * MIB, max_size=2 * GIB)
    changed = client.wait_signal('PropertiesChanged')[1]
    assert changed == {'MinSize': 512 * MIB, 'MaxSize': 2 * GIB, 'HostMinSize': 512 * MIB, 'HostMaxSize': 2 * GIB}
    refused(client, 'Plug', 'ts', 0, 'test')
    assert list(client.wait_signal('PropertiesChanged')[1]) == ['LastError']
    stage.host.drop()
    assert client.wait_signal('PropertiesChanged')[1] == {'HostConnected': False, 'State': 'disconnected'}


def test_nothing_is_told_when_nothing_changes(stage):
    client = stage.up()
    client.pump(0.2)
    client.signals.clear()
    for _ in range(20):
        stage.host.say('size', size=GIB, requested_size=GIB)
        stage.host.say('limits', min_size=256 * MIB, max_size=4 * GIB)
    client.pump(0.3)
    assert client.signals == []


# The bus itself


def test_bus_goes_and_comes_back(stage):
    private = stage.up()
    stage.on_bus()
    stage.kill('bus')
    wait_until(lambda: stage.says('bus:') > 1, 5, 'it sees that')
    serial = plug(private, 2 * MIB)
    stage.host.grant()
    assert private.reply(serial) == (GIB + 2 * MIB,)
    stage.start('bus', '/usr/bin/dbus-daemon', f'--config-file={stage.folder}/bus.conf', '--nofork', '--nopidfile',
                '--nosyslog')

    def back():
        try:
            return get(stage.client(), 'RequestedSize') == GIB + 2 * MIB
        except (OSError, DBusError):
            return False
    wait_until(back, 10, 'it is on the bus again')
    assert stage.says('working on without it') == 1


def test_starts_without_a_bus(bare_stage):
    stage = bare_stage
    stage.kill('bus')
    (stage.folder / 'bus').unlink(missing_ok=True)
    stage.run()
    client = stage.up()
    serial = plug(client, 2 * MIB)
    stage.host.grant()
    assert client.reply(serial) == (GIB + 2 * MIB,)
    assert stage.says('working on without it') == 1


def test_name_that_somebody_else_has(bare_stage):
    stage = bare_stage
    owner = stage.client()
    wait_until(lambda: owner.call('RequestName', 'su', 'org.vmtide.Actuator1', 4, at=NAME_OWNER)[0] == 1, 5, 'it is free')
    stage.run()
    wait_until(lambda: stage.says("is somebody else's") == 1, 5, 'it says so')
    client = stage.up()
    assert get(client, 'Size') == GIB
    owner.call('ReleaseName', 's', 'org.vmtide.Actuator1', at=NAME_OWNER)
    wait_until(lambda: stage.says('has name') == 1, 5, 'it gets it')
    assert get(owner, 'Size') == GIB


# Triggers


def trigger(client, sender=None, kind='some', stall=5000, window=2000000):
    client.call('OpenPressureTrigger', 'stt', kind, stall, window, at=ACTUATOR, sender=sender)
    return client.fds.pop()


@pytest.fixture
def pressure(stage):
    path = stage.folder / 'proc/pressure/memory'
    path.parent.mkdir()
    path.write_text('', encoding='ascii')
    return path


@pytest.mark.parametrize('private', (False, True), ids=('bus', 'private'))
def test_trigger(stage, pressure, private):
    stage.on_bus()
    client = stage.client(private=private, uid=NOBODY)
    fd = trigger(client, kind='full', window=50000)
    assert os.pread(fd, 100, 0) == b'full 5000 50000\0' == pressure.read_bytes()
    assert os.path.samestat(os.fstat(fd), pressure.stat())
    os.close(fd)


BAD_TRIGGERS = (('some', 5000, 49999), ('some', 0, 50000), ('some', 50001, 50000), ('half', 5000, 50000),
                ('some', 5000, 10000001), ('some', 2**64 - 1, 2**64 - 1))


@pytest.mark.parametrize('arguments', BAD_TRIGGERS, ids=str)
def test_bad_triggers(stage, pressure, arguments):
    error = refused(stage.client(private=True), 'OpenPressureTrigger', 'stt', *arguments)
    assert error.name == 'InvalidArgs' and '50 ms' in error.text and str(arguments[2]) in error.text
    assert pressure.read_bytes() == b''


def test_no_pressure_information(stage):
    client = stage.client(private=True)
    for _ in range(6):  # more than a connection may have: what came to nothing does not count
        error = refused(client, 'OpenPressureTrigger', 'stt', 'some', 5000, 2000000)
        assert error.full_name == 'org.freedesktop.DBus.Error.NotSupported' and 'psi=1' in error.text


def come(stage, uid):
    """Over the private socket, as soon as the one before is gone: one monitor is served at a time."""
    came = []

    def served():
        try:
            came.append(stage.client(private=True, uid=uid))
            return get(came[-1], 'State')
        except OSError:
            return False
    wait_until(served, 5, 'it is served')
    return came[-1]


@malice('a monitor that was taken over opens triggers without end', 'four are made, until it leaves')
@pytest.mark.parametrize('uid, other', ((NOBODY, 0), (0, NOBODY)), ids=('monitor', 'root'))
def test_four_triggers_for_a_connection(stage, pressure, uid, other):
    client = come(stage, uid)
    for _ in range(4):
        os.close(trigger(client))
    for _ in range(100):
        assert refused(client, 'OpenPressureTrigger', 'stt', 'some', 5000, 2000000).name == 'LimitExceeded'
    # Whatever it calls itself.
    with pytest.raises(DBusError) as caught:
        trigger(client, sender=':1.4242')
    assert caught.value.name == 'LimitExceeded'
    # Another one has its own, and so has this one when it comes again.
    os.close(trigger(come(stage, other)))
    client.close()
    os.close(trigger(come(stage, uid)))


@malice('a monitor that was taken over opens triggers without end over new connections', '16 a minute are made')
@pytest.mark.parametrize('uid, other', ((NOBODY, 0), (0, NOBODY)), ids=('monitor', 'root'))
def test_connecting_again_gives_no_more_triggers(stage, pressure, uid, other):
    for _ in range(4):
        client = come(stage, uid)
        for _ in range(4):
            os.close(trigger(client))
        client.close()
    error = refused(come(stage, uid), 'OpenPressureTrigger', 'stt', 'some', 5000, 2000000)
    assert error.name == 'RateLimited' and 'at most 16 triggers a minute' in error.text
    # Another user has its own.
    os.close(trigger(come(stage, other)))


def test_triggers_of_callers_on_the_bus(stage, pressure):
    stage.on_bus()
    for i in range(24):  # more than there are places for: those who left have given theirs back
        client = stage.client(uid=NOBODY if i % 2 else 0)
        os.close(trigger(client))
        client.close()
    client = stage.client()
    for _ in range(4):
        os.close(trigger(client))
    assert refused(client, 'OpenPressureTrigger', 'stt', 'some', 5000, 2000000).name == 'LimitExceeded'


def test_kernel_says_why_not(stage):
    """The real file, without the privilege: the window has to be a multiple of 2 s, or there is no PSI at all."""
    try:
        with open('/proc/pressure/memory', encoding='ascii') as file:
            expected, words = ('InvalidArgs', '2 s') if file.read() else (None, None)
    except OSError:
        expected, words = 'NotSupported', 'psi=1'
    stage.start('unprivileged', 'setpriv', '--bounding-set=-sys_resource', '--inh-caps=-sys_resource',
                BUILD / 'actuator/vmtide-actuator', f'--port={stage.folder}/none', f'--sysfs={stage.folder}/sys',
                f'--bus={stage.address}', f'--socket={stage.folder}/second.sock', '--monitor-user=nobody')
    wait_until((stage.folder / 'second.sock').exists, 10, 'the private socket is there')
    client = Client(stage.folder / 'second.sock', hello=False)
    stage.clients.append(client)
    error = refused(client, 'OpenPressureTrigger', 'stt', 'some', 5000, 50000)
    assert error.name == expected and words in error.text


# Onlining


def test_blocks_that_waited_come_online_on_connect(stage):
    state = stage.folder / 'sys/devices/system/memory/memory40/state'
    state.write_text('offline\n', encoding='ascii')
    stage.up(max_size=3 * GIB)
    # 3 x boot memory: all movable from now on, the policy before was for any size.
    wait_until(lambda: state.read_text(encoding='ascii').startswith('online_movable'), 5, 'they are brought online')
    policy = stage.folder / 'sys/devices/system/memory/auto_online_blocks'
    assert policy.read_text(encoding='ascii').startswith('online_movable')
    assert stage.says('waited offline') >= 1 and stage.says('onlining policy set to movable') >= 1


def test_policy_is_put_right_before_growth(stage):
    policy = stage.folder / 'sys/devices/system/memory/auto_online_blocks'
    client = stage.up(max_size=3 * GIB)
    wait_until(lambda: policy.read_text(encoding='ascii').startswith('online_movable'), 5, 'it is set')
    policy.write_text('offline\n', encoding='ascii')
    plug(client, 2 * MIB)
    stage.host.grant()
    wait_until(lambda: policy.read_text(encoding='ascii').startswith('online_movable'), 5, 'it is put right')


def test_policy_is_put_right_when_it_grows(stage):
    """By the host's own will, or where somebody meddled after the request."""
    policy, state = (stage.folder / 'sys/devices/system/memory' / name for name in ('auto_online_blocks', 'memory40/state'))
    stage.up(max_size=3 * GIB)
    wait_until(lambda: policy.read_text(encoding='ascii').startswith('online_movable'), 5, 'it is set')
    policy.write_text('offline\n', encoding='ascii')
    state.write_text('offline\n', encoding='ascii')
    stage.host.say('size', size=GIB + 128 * MIB, requested_size=GIB + 256 * MIB)
    wait_until(lambda: policy.read_text(encoding='ascii').startswith('online_movable'), 5, 'it is put right')
    wait_until(lambda: state.read_text(encoding='ascii').startswith('online_movable'), 5, 'and what came is online')


# The process


def test_configuration_is_loaded_again(stage):
    client = stage.up()
    conf = stage.folder / 'actuator.conf'
    conf.write_text(CONFIG + 'MaxSize=2G\n', encoding='ascii')
    stage.processes['actuator'].send_signal(signal.SIGHUP)
    wait_until(lambda: get(client, 'MaxSize') == 2 * GIB, 5, 'it is in force')
    client.wait_signal('PropertiesChanged', where=lambda i, p, _: p.get('MaxSize') == 2 * GIB)
    conf.write_text('[Actuator]\nMaxSize=many\n', encoding='ascii')
    stage.processes['actuator'].send_signal(signal.SIGHUP)
    wait_until(lambda: 'the configuration in force stays' in stage.log('actuator'), 5, 'it says so')
    assert get(client, 'MaxSize') == 2 * GIB


def test_idle_is_idle(stage):
    stage.up()
    stage.on_bus()

    def wakeups():
        status = (f'/proc/{stage.processes["actuator"].pid}/status')
        with open(status, encoding='ascii') as file:
            return sum(int(line.split()[1]) for line in file if 'ctxt_switches' in line)
    time.sleep(0.5)  # what the connecting set going
    before = wakeups()
    time.sleep(3)
    assert wakeups() - before <= 3


def test_usage():
    program = BUILD / 'actuator/vmtide-actuator'

    def run(*arguments):
        return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=10, check=False)
    assert run('--version').stdout.startswith('vmtide-actuator ')
    assert all(option in run('--help').stdout for option in (
        '--config', '--log-level', '--port', '--socket', '--bus', '--monitor-user', '--sysfs', '--procfs', '--cgroupfs', '--guard-state', '--kernel-state', '--disarm',
        '--version'))
    for arguments, status in ((['--nonsense'], 64), (['more'], 64), (['--log-level=loud', '--config=/dev/null'], 64),
                              (['--config=/nonexistent'], 78),
                              (['--config=/dev/null', '--monitor-user=no-such-user'], 1)):
        result = run(*arguments)
        assert result.returncode == status and result.stderr, (arguments, result)
