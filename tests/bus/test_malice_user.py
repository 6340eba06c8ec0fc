# SPDX-License-Identifier: MIT
"""Any local user of a guest, who may do nothing but look, against the actuator and the monitor."""

import os
import re
import select
import socket
import statistics
import struct
import time
from pathlib import Path

import pytest

from tests.matrix import malice

from .actuator_stage import get, plug, refusal, refused, stage, STRANGER
from .conftest import ACTUATOR, MONITOR, NOBODY
from .dbus_client import Client, DBusError, NAME_OWNER, SIGNAL, Writer
from .peers import GIB, MIB, wait_until
from .test_actuator_access import policy_bus

assert stage
LISTENER = 'org.freedesktop.DBus'


# AddressSanitizer keeps what is freed; that nothing is left is for its leak check to say.
SANITIZED = 'ASAN_OPTIONS' in os.environ


def memory(process):
    status = Path(f'/proc/{process.pid}/status').read_text(encoding='ascii')
    return int(re.search(r'^VmRSS:\s+(\d+) kB$', status, re.M).group(1)) * 1024


def fds(process):
    return len(os.listdir(f'/proc/{process.pid}/fd'))


def held(process):
    return memory(process), fds(process)


def flat(before, after):
    return (SANITIZED or after[0] - before[0] < MIB) and after[1] <= before[1]


def as_user(uid, action):
    os.setegid(uid)
    os.seteuid(uid)
    try:
        return action()
    finally:
        os.seteuid(0)
        os.setegid(0)


def monitor_works(stage, client):
    serial = plug(client, 2 * MIB, 'work')
    size = stage.host.grant()['size']
    assert client.reply(serial) == (size,)


FLOOD = (('Plug', 'ts', 2 * MIB, 'x'), ('SetLimits', 'ttb', 0, GIB, False), ('Reserve', 'tss', MIB, 'x', 'y'),
         ('ArmGuard', 't', 0), ('Report', 'ttus', 1, 2, 3, 'critical'), ('ListReservations', ''),
         ('OpenPressureTrigger', 'stt', 'some', 5000, 2000000))


@malice('any local user floods the bus with calls over eight connections, and does not read the answers',
        'the monitor and readers are answered, nothing is done, the actuator is none the larger')
def test_flood(stage):
    monitor = stage.up()
    reader = stage.on_bus()

    def flood(count):
        clients = [stage.client(uid=STRANGER) for _ in range(8)]
        for client in clients:
            client.socket.settimeout(0)
        for i in range(count):
            client = clients[i % len(clients)]
            member, signature, *arguments = FLOOD[i % len(FLOOD)]
            try:
                client.send(member, signature, *arguments, at=ACTUATOR)
            except (BlockingIOError, OSError):
                pass  # its socket is full: as much as the bus takes
        return clients
    leave(stage, flood(2000))
    before = held(stage.processes['actuator'])
    clients = flood(4000)
    times = []
    for _ in range(11):
        begun = time.monotonic()
        monitor_works(stage, monitor)
        assert get(reader, 'HostConnected')
        times.append(time.monotonic() - begun)
    assert statistics.median(times) < 0.5, times
    leave(stage, clients)
    assert get(reader, 'MaxSize') == 4 * GIB and get(reader, 'ReservedBytes') == 0
    assert flat(before, held(stage.processes['actuator']))


def leave(stage, clients):
    for client in clients:
        client.close()
        stage.clients.remove(client)


@malice('any local user opens 1,000 connections to the private socket', 'each is closed, root and the monitor get in')
def test_a_thousand_connections(stage):
    os.chmod(stage.folder / 'actuator.sock', 0o666)  # nor does the mode decide alone
    monitor = stage.up()
    before = held(stage.processes['actuator'])

    def connect():
        opened = []
        for _ in range(1000):
            s = socket.socket(socket.AF_UNIX)
            s.connect(str(stage.folder / 'actuator.sock'))
            s.settimeout(5)
            opened.append(s)
        return opened
    opened = as_user(STRANGER, connect)
    assert get(stage.client(private=True), 'State') == 'idle'
    monitor_works(stage, monitor)
    for s in opened:
        assert s.recv(1) == b''
        s.close()
    stage.clients.pop().close()
    wait_until(lambda: flat(before, held(stage.processes['actuator'])), 5, 'nothing of them is left')
    assert stage.says('neither root nor') < 20


@pytest.mark.parametrize('bytes_', (b'', b'\0', b'\0AUTH EXTERNAL ', b'\0AUTH EXTERNAL 30\r\n' * 50, b'x' * 100000),
                         ids=('nothing', 'nul', 'half', 'refused', 'noise'))
@malice('any local user holds half-open authentications on either socket',
        'it is closed on the private one, and keeps nobody waiting on the bus')
def test_half_open_authentication(stage, bytes_):
    os.chmod(stage.folder / 'actuator.sock', 0o666)
    stage.on_bus()
    monitor = stage.up()
    opened = []
    for path, count in ((stage.folder / 'actuator.sock', 20), (stage.folder / 'bus', 20)):
        for _ in range(count):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(5)
            as_user(STRANGER, lambda s=s, path=path: s.connect(str(path)))
            try:
                s.sendall(bytes_)
            except OSError:
                # The bus daemon hangs up by itself on more than 16 KiB without a line's end.
                assert path.name == 'actuator.sock' or len(bytes_) > 16 << 10
            opened.append(s)
    for s in opened[:20]:
        try:
            assert s.recv(1) == b''
        except ConnectionResetError:
            pass
    monitor_works(stage, monitor)
    assert get(stage.on_bus(), 'HostConnected')
    for s in opened:
        s.close()


@malice('the monitor\'s user holds a half-open authentication on the private line', 'root gets in beside it')
def test_half_open_authentication_of_the_monitors_user(stage):
    stage.host.connect()
    s = socket.socket(socket.AF_UNIX)
    as_user(NOBODY, lambda: s.connect(str(stage.folder / 'actuator.sock')))
    s.sendall(b'\0AUTH EXTERNAL ')
    wait_until(lambda: get(stage.client(private=True), 'HostConnected'), 5, 'root is served')
    s.close()

    def served():
        try:
            return get(stage.client(private=True, uid=NOBODY), 'HostConnected')
        except OSError:
            return False
    wait_until(served, 5, 'and the monitor when it has gone')


@malice('any local user sends messages of 30 MB', 'they are refused, the actuator is none the larger')
def test_huge_messages(stage):
    monitor = stage.up()
    reader = stage.on_bus()
    stranger = stage.client(uid=STRANGER)
    process = stage.processes['actuator']
    text = 'x' * (30 * 1000 * 1000)
    assert refused(stranger, 'Plug', 'ts', 2 * MIB, '').name == 'AccessDenied'
    before = held(process)
    assert refused(stranger, 'Plug', 'ts', 2 * MIB, text).name == 'InvalidSize'
    for member, signature, *arguments in (('Plug', 'ts', 2 * MIB, text), ('Reserve', 'tss', MIB, text, 'y'),
                                          ('OpenPressureTrigger', 'stt', text, 1, 1), ('DeclineShrink', 'ts', 1, text)):
        assert refused(stranger, member, signature, *arguments).name in ('InvalidSize', 'InvalidArgs')
        monitor_works(stage, monitor)
    assert get(reader, 'HostConnected')
    assert flat(before, held(process)), (before, held(process))


def forged(client, path, interface, member, signature, *arguments, to=None):
    """A signal; TO: for one alone, whatever it listens to."""
    body = Writer()
    for kind, value in zip(signature, arguments):
        body.put(kind, value)
    client.serial += 1
    header = Writer()
    fields = [(1, 'o', path), (2, 's', interface), (3, 's', member), (8, 'g', signature)]
    for key, kind, value in fields + ([(6, 's', to)] if to else []):
        header.align(8)
        header.put('y', key)
        header.put('g', kind)
        header.put(kind, value)
    message = Writer()
    message.data += struct.pack('<cBBBIII', b'l', SIGNAL, 1, 1, len(body.data), client.serial, len(header.data))
    message.data += header.data
    message.align(8)
    client.socket.sendall(message.data + body.data)


@malice('any local user sends signals in the actuator\'s name and the bus daemon\'s',
        'nobody believes them: the monitor goes on, callers that wait are answered')
def test_forged_signals(stage):
    stage.up(private=False)
    stage.start_monitor()
    wait_until(lambda: stage.get('Mode', at=MONITOR) == ['"auto"'], 10, 'the monitor is there')
    root, stranger = stage.on_bus(), stage.client(uid=STRANGER)
    owner = {name: stage.clients[0].call('GetNameOwner', 's', name, at=NAME_OWNER)[0]
             for name in ('org.vmtide.Actuator1', 'org.vmtide.Monitor1')}
    waiting = plug(root, 2 * MIB, 'wait')
    request = stage.host.expect('resize')
    for to in (None, owner['org.vmtide.Monitor1'], owner['org.vmtide.Actuator1']):
        forged(stranger, ACTUATOR[1], ACTUATOR[2], 'ShrinkRequested', 'tts', 1, 0, 'forged', to=to)
        forged(stranger, ACTUATOR[1], ACTUATOR[2], 'SizeChanged', 'tts', GIB, 0, 'forged', to=to)
        forged(stranger, ACTUATOR[1], ACTUATOR[2], 'RoomAvailable', '', to=to)
        if to:
            # Who waits has left, and so has the actuator.
            for name in (root.name, owner['org.vmtide.Actuator1'], owner['org.vmtide.Monitor1']):
                forged(stranger, '/org/freedesktop/DBus', LISTENER, 'NameOwnerChanged', 'sss', name, name, '', to=to)
            forged(stranger, '/org/freedesktop/DBus', LISTENER, 'NameOwnerChanged', 'sss', 'org.vmtide.Actuator1',
                   owner['org.vmtide.Actuator1'], '', to=to)
            forged(stranger, '/org/freedesktop/DBus', LISTENER, 'NameLost', 's', 'org.vmtide.Actuator1', to=to)
    assert get(stranger, 'HostConnected')
    stage.host.say('granted', id=request['id'], requested_size=request['size'])
    assert root.reply(waiting) == (request['size'],)
    while (line := stage.host.line(0.3)) is not None:
        assert line['op'] in ('stats', 'ping'), line
    assert stage.get('Mode', at=MONITOR) == ['"auto"'] and stage.get('Size', at=ACTUATOR) == [str(GIB)]
    assert stage.log('monitor').count('forged') == 0
    assert stage.says('was taken away') == 0 and stage.log('monitor').count('was taken away') == 0


@malice('any local user forges the leaving of who armed the guard, over the bus', 'the guard stays armed')
def test_forged_leaving_does_not_disarm(stage):
    from .test_actuator_guard import Slices, HEADROOM
    stage.up(private=False)
    slices = Slices(stage)
    root, stranger = stage.on_bus(), stage.client(uid=STRANGER)
    root.call('ArmGuard', 't', HEADROOM, at=ACTUATOR)
    slices.wait(True, 'it is armed')
    owner = root.call('GetNameOwner', 's', 'org.vmtide.Actuator1', at=NAME_OWNER)[0]
    forged(stranger, '/org/freedesktop/DBus', LISTENER, 'NameOwnerChanged', 'sss', root.name, root.name, '', to=owner)
    assert get(stranger, 'HostConnected')  # it has come to the actuator
    root.call('ArmGuard', 't', HEADROOM, at=ACTUATOR)
    assert len(slices.lines()) == 2 and stage.says('guard disarmed') == 0


@malice('any local user activates and claims our names', 'none is to be had or to be started')
def test_names(stage):
    policy_bus(stage.folder)
    stage.start('policed', '/usr/bin/dbus-daemon', f'--config-file={stage.folder}/system.conf', '--nofork', '--nopidfile',
                '--nosyslog')
    wait_until((stage.folder / 'policed').exists, 10, 'the bus is there')
    stranger = Client(stage.folder / 'policed', uid=STRANGER)
    stage.clients.append(stranger)
    for name in ('org.vmtide.Actuator1', 'org.vmtide.Monitor1', 'org.freedesktop.LowMemoryMonitor'):
        with pytest.raises(DBusError) as caught:
            stranger.call('RequestName', 'su', name, 4, at=NAME_OWNER)
        assert caught.value.name == 'AccessDenied'
        with pytest.raises(DBusError) as caught:
            stranger.call('StartServiceByName', 'su', name, 0, at=NAME_OWNER)
        assert caught.value.name == 'ServiceUnknown'


@malice('any local user asks Explain and all properties in a loop', 'the monitor goes on deciding, none the larger')
def test_explain_in_a_loop(stage):
    stage.up(private=False)
    stage.start_monitor()
    wait_until(lambda: stage.get('Mode', at=MONITOR) == ['"auto"'], 10, 'the monitor is there')
    askers = [stage.client(uid=STRANGER) for _ in range(4)]

    def ask(seconds):
        end, answers = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            serials = [asker.send('Explain', 'u', 2**32 - 1, at=MONITOR) for asker in askers for _ in range(4)]
            for i, serial in enumerate(serials):
                askers[i // 4].reply(serial)
                answers += 1
        return answers
    ask(1)
    before = held(stage.processes['monitor'])
    assert ask(3) > 20
    assert flat(before, held(stage.processes['monitor']))
    # Memory runs short while it goes on: the monitor sees that, and asks.
    stage.set_memory(960 * MIB, 100 * MIB)
    deadline = time.monotonic() + 10
    while not select.select([stage.host.connection], [], [], 0)[0] or stage.host.expect('resize', 1) is None:
        ask(0.2)
        assert time.monotonic() < deadline
