# SPDX-License-Identifier: MIT
"""The actuator and its host: connects, half lines, garbage, silence."""

import os
import time

import pytest

from tests.matrix import malice

from .actuator_stage import (bare_stage, get, get_all, lines, plug, refusal, refused, stage,
                             strict_stage)
from .conftest import ACTUATOR
from .dbus_client import DBusError
from .peers import GIB, MIB, patience, wait_until


# The channel


def test_host_goes_and_comes_back(lines):
    client = lines.up()
    serial = plug(client, 2 * MIB)
    lines.host.expect('resize')
    begun = time.monotonic()
    lines.host.drop()
    error = refusal(client, serial)
    assert error.name == 'HostUnavailable' and time.monotonic() - begun < patience(0.5)
    assert (get(client, 'State'), get(client, 'HostConnected')) == ('disconnected', False)
    # The numbers of before are kept, nothing else is known.
    assert (get(client, 'Size'), get(client, 'MaxSize')) == (GIB, 4 * GIB)
    lines.host.connect(size=2 * GIB, requested_size=2 * GIB)
    wait_until(lambda: get(client, 'HostConnected'), 5, 'they meet again')
    assert client.wait_signal('SizeChanged', where=lambda old, new, why: new == 2 * GIB) == (GIB, 2 * GIB, 'connected')
    serial = plug(client, 2 * MIB)
    assert lines.host.grant()['size'] == 2 * GIB + 2 * MIB
    assert client.reply(serial) == (2 * GIB + 2 * MIB,)


def test_host_begins_anew_unnoticed(stage):
    """virtio-serial may show no hang-up between two hosts."""
    client = stage.up()
    serial = plug(client, 2 * MIB)
    stage.host.expect('resize')
    stage.host.say('who')
    # The new one knows nothing of it: no use in waiting.
    begun = time.monotonic()
    assert refusal(client, serial).name == 'HostUnavailable' and time.monotonic() - begun < patience(0.5)
    stage.host.greet(size=GIB + 2 * MIB, requested_size=GIB + 2 * MIB)
    wait_until(lambda: get(client, 'Size') == GIB + 2 * MIB, 5, 'both agree')
    assert get(client, 'HostConnected')


def test_hello_until_welcomed(stage):
    stage.host.accept()
    for _ in range(3):
        assert stage.host.expect('hello', 4)['v'] == 1
    assert get(stage.client(private=True), 'State') == 'disconnected'
    stage.host.say('welcome', **{**stage.host.welcome, 'v': 2})
    assert stage.host.expect('hello', 4)
    assert get(stage.client(private=True), 'State') == 'disconnected'


def test_what_comes_before_the_welcome_counts_for_nothing(stage):
    stage.host.accept()
    stage.host.expect('hello')
    stage.host.say('size', size=8 * GIB, requested_size=8 * GIB)
    stage.host.say('granted', id=1, requested_size=8 * GIB)
    stage.host.say('ping', id=5)
    assert stage.host.expect('pong')['id'] == 5
    assert get(stage.client(private=True), 'Size') == 0


GARBAGE = (
    b'garbage\n', b'{\n', b'[]\n', b'null\n', b'{"op":1}\n', b'\x00\xff\xfe\n', b'{"op":"granted"}\n',
    b'{"op":"granted","id":1,"requested_size":-1}\n', b'{"op":"granted","id":1,"requested_size":1.5}\n',
    b'{"op":"granted","id":"1","requested_size":[]}\n', b'{"op":"size","size":99999999999999999999,"requested_size":0}\n',
    b'{"op":"size","size":1,"size":2,"requested_size":0}\n', b'{"op":"refused","id":1,"code":"mood","text":"","max_size":0}\n',
    b'{"op":"welcome","v":2,"agent":"","vm":"","block_size":1,"size":0,"requested_size":0,"min_size":0,"max_size":0}\n',
    b'{"op":"resize","id":1,"size":0,"reason":""}\n', b'[' * 3000 + b'\n', b'x' * (1 << 19) + b'\n',
)


@pytest.mark.parametrize('data', GARBAGE, ids=lambda data: data[:24].decode('ascii', 'replace').strip())
def test_garbage_changes_nothing(stage, data):
    client = stage.up()
    before = {name: value for name, value in get_all(client).items()}
    serial = plug(client, 2 * MIB)
    request = stage.host.expect('resize')
    for _ in range(5):
        stage.host.raw(data)
    stage.host.say('ping', id=9)
    stage.host.expect('pong')
    assert not client.answered(serial)
    assert get_all(client) == before
    assert stage.says('line dropped') == 1
    stage.host.say('granted', id=request['id'], requested_size=request['size'])
    assert client.reply(serial) == (GIB + 2 * MIB,)


def test_unknown_op_is_answered(stage):
    client = stage.up()
    stage.host.raw(b'{"op":"sing","song":"any"}\n')
    assert 'op' in stage.host.expect('error')['text']
    # And an error is not, or two peers would go on for ever.
    stage.host.say('error', text='op is not known')
    assert stage.host.line(0.1) is None
    assert get(client, 'HostConnected')


def test_unknown_keys_are_ignored(stage):
    client = stage.up()
    stage.host.say('size', size=2 * GIB, requested_size=GIB, colour='blue', more={'deep': [1, 2]})
    wait_until(lambda: get(client, 'Size') == 2 * GIB, 5, 'the rest counts')


def test_half_lines(lines):
    """The first half of one host's line and the whole hello of the next."""
    client = lines.up()
    message = b'{"op":"size","size":2147483648,"requested_size":2147483648}\n'
    for i in range(0, len(message), 7):
        lines.host.raw(message[i:i + 7])
    wait_until(lambda: get(client, 'Size') == 2 * GIB, 5, 'pieces make a line')
    lines.host.raw(message[:20])
    lines.host.raw(b'\n{"op":"who"}\n')
    lines.host.greet()
    wait_until(lambda: get(client, 'Size') == GIB and get(client, 'HostConnected'), 5, 'they begin anew')
    # The rest of a line from before the connect.
    lines.host.raw(message[:20])
    lines.host.drop()
    lines.host.accept()
    lines.host.raw(message[20:])
    lines.host.greet()
    wait_until(lambda: get(client, 'HostConnected'), 5, 'they begin anew')
    assert get(client, 'Size') == GIB


def test_hello_comes_after_a_newline(stage):
    """Whoever had the port before may have left half a line in it."""
    stage.host.accept()
    stage.host.connection.settimeout(5)
    assert stage.host.connection.recv(1) == b'\n'


def test_too_many_bad_lines_and_back(stage):
    client = stage.up()
    serial = plug(client, 2 * MIB)
    stage.host.expect('resize')
    begun = time.monotonic()
    stage.host.raw(b'garbage\n' * 1000)
    # Nobody listens, so nobody waits either.
    assert refusal(client, serial).name == 'HostUnavailable'
    assert not get(client, 'HostConnected')
    stage.host.say('ping', id=1)
    assert stage.host.expect('hello', 12) and time.monotonic() - begun > 9.9
    stage.host.say('welcome', **stage.host.welcome)
    wait_until(lambda: get(client, 'HostConnected'), 5, 'they meet again')
    assert stage.says('more than 100 bad lines') == 1 and stage.says('line dropped') == 1


@pytest.mark.parametrize('what', ('empty', 'endless', 'good'))
@malice('a compromised host sends {what} lines without a limit', 'the actuator stops reading for 10 s and serves its clients')
def test_a_host_that_floods_is_not_read(stage, what):
    """The actuator reads 20,000 lines or 4 MiB in 10 s at most; further bytes stay in the socket."""
    client = stage.up()
    piece = {'empty': b'\n' * 65536, 'endless': b'x' * 65536, 'good': b'{"op":"pong","id":0}\n' * 3000}[what]
    sent, deadline = 0, time.monotonic() + patience(20)
    stage.host.connection.settimeout(2)
    with pytest.raises(TimeoutError):
        while sent < 64 * MIB and time.monotonic() < deadline:
            sent += stage.host.connection.send(piece)
    assert sent < 8 * MIB, sent
    assert stage.says('not listening for as long') == 1
    assert get(client, 'State') == 'disconnected'


def test_host_that_does_not_read(stage):
    client = stage.up()
    # Each ping is answered until nothing more goes out.
    stage.host.connection.settimeout(10)
    ping = b'{"op":"ping","id":1}\n' * 500
    try:
        while get(client, 'HostConnected'):
            stage.host.raw(ping)
    except OSError:
        pass
    wait_until(lambda: stage.says('it does not read') == 1, 5, 'it says so')
    stage.host.drop()
    stage.host.connect()
    wait_until(lambda: get(client, 'HostConnected'), 5, 'they meet again')


def test_flapping_is_said_a_few_times(stage):
    client = stage.client(private=True)
    for _ in range(9):
        stage.host.connect()
        wait_until(lambda: get(client, 'HostConnected'), 5, 'they meet')
        stage.host.drop()
        wait_until(lambda: not get(client, 'HostConnected'), 5, 'they part')
    assert stage.says('host: gone') == 6 and stage.says('answers for VM') <= 6
    assert len(stage.log('actuator').splitlines()) < 40


def test_no_host_is_said_once(stage):
    stage.host.close()
    os.unlink(stage.folder / 'line')
    wait_until(lambda: stage.says('No such file') > 0 and stage.says('has name') > 0, 10, 'it says so')
    # Three more looks.
    before = len(stage.log('actuator').splitlines())
    time.sleep(3)
    assert len(stage.log('actuator').splitlines()) == before


def test_port_that_cannot_be_opened(bare_stage):
    bare_stage.host.close()
    (bare_stage.folder / 'line').unlink()
    (bare_stage.folder / 'line').mkdir()
    bare_stage.run()
    wait_until(lambda: bare_stage.says('Is a directory') == 1, 5, 'it says so')
    assert refused(bare_stage.client(private=True), 'Plug', 'ts', 2 * MIB, 'test').name == 'HostUnavailable'


def test_reports_become_stats(strict_stage):
    client = strict_stage.up()
    client.call('Report', 'ttus', 1 << 30, 3 << 30, 1234, 'rising', at=ACTUATOR)
    assert strict_stage.host.line() == {'op': 'stats', 'available': GIB, 'total': 3 * GIB, 'some10': 1234, 'level': 'rising'}
    answers = []
    for _ in range(60):
        try:
            client.call('Report', 'ttus', 1, 2, 3, 'normal', at=ACTUATOR)
            answers.append('')
        except DBusError as error:
            answers.append(error.name)
    assert set(answers) == {'', 'RateLimited'} and 15 <= answers.count('') <= 40


def test_shrink_is_asked_and_declined(stage):
    client = stage.up()
    assert refused(client, 'DeclineShrink', 'ts', 0, 'busy').name == 'InvalidArgs'
    stage.host.say('shrink', id=7, size=512 * MIB, reason='others need it')
    assert client.wait_signal('ShrinkRequested') == (7, 512 * MIB, 'others need it')
    assert refused(client, 'DeclineShrink', 'ts', 6, 'in-use').name == 'InvalidArgs'
    for code in ('limit', 'rate', 'mood', ''):
        assert refused(client, 'DeclineShrink', 'ts', 7, code).name == 'InvalidArgs'
    assert client.call('DeclineShrink', 'ts', 7, 'in-use', at=ACTUATOR) == ()
    assert stage.host.line() == {'op': 'declined', 'id': 7, 'code': 'in-use'}
    # Once.
    assert refused(client, 'DeclineShrink', 'ts', 7, 'in-use').name == 'InvalidArgs'
    # Another host did not ask.
    stage.host.say('shrink', id=8, size=512 * MIB, reason='again')
    client.wait_signal('ShrinkRequested')
    stage.host.drop()
    stage.host.connect()
    wait_until(lambda: get(client, 'HostConnected'), 5, 'they meet again')
    assert refused(client, 'DeclineShrink', 'ts', 8, 'in-use').name == 'InvalidArgs'


def test_what_the_host_says_over_and_over_is_told_once_a_second(stage):
    client = stage.up()
    for number in range(1, 51):
        stage.host.say('shrink', id=number, size=512 * MIB + number, reason='again and again')
        stage.host.say('room')
    assert client.wait_signal('ShrinkRequested')[0] == 1
    assert client.wait_signal('ShrinkRequested') == (50, 512 * MIB + 50, 'again and again')
    client.pump(0.2)
    told = [name for name, _, _ in client.signals]
    assert 'ShrinkRequested' not in told and told.count('RoomAvailable') <= 1
    assert stage.says('asks to shrink') == 2 and stage.says('asked 48 times more since then') == 1
    # The last one is the one that is answered.
    client.call('DeclineShrink', 'ts', 50, 'busy', at=ACTUATOR)
    assert stage.host.expect('declined')['id'] == 50


@pytest.mark.parametrize('private', (False, True), ids=('bus', 'private'))
def test_room(stage, private):
    client = stage.up(private=private)
    stage.host.say('room')
    assert client.wait_signal('RoomAvailable') == ()
