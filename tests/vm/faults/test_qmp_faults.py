# SPDX-License-Identifier: MIT
"""Faults of the host daemon's line to QEMU."""

import contextlib
import json
import time

import pytest

from tests.matrix import fault
from tests.vm.rig import GIB, wait_until

from .by_hand import Grow, host_state, refused_now
from .relay import FROM_HOST, TO_HOST

SET, ANSWER, QUERY = b'"qom-set"', b'"return"', b'"query-memory-devices"'
REFUSED = 'org.vmtide.Error.HostRefused'


class Answers:
    """An edit of the relay that knows which command an answer belongs to: edit(command line, answer line)."""

    def __init__(self, relay, edit):
        self._edit = edit
        self._commands = {}
        self.edited = 0
        self._relay = relay

    def __call__(self, direction, line):
        message = json.loads(line)
        if direction == FROM_HOST:
            self._commands[message.get('id')] = line
            return (line,)
        if 'id' not in message:
            return (line,)
        pieces = self._edit(self._commands.pop(message['id'], b''), line)
        self.edited += pieces != (line,)
        return pieces

    def __enter__(self):
        self._relay.edit = self
        return self

    def __exit__(self, *_):
        self._relay.edit = None


def error_for(line, text='made up by the test'):
    return json.dumps({'id': json.loads(line)['id'], 'error': {'class': 'GenericError', 'desc': text}}).encode() + b'\r\n'


def connects_again(stage, connections):
    wait_until(lambda: stage.qmp.connections > connections and stage.host('State') not in (['no-qemu'], ['no-numbers']),
               30, 'the host speaks with QEMU again')


@fault('QMP is stalled for 30 s in the middle of a grow',
       'the grow ends; requests are refused HostRefused (QEMU does not answer) until then; all agree and the job goes on')
def test_stalled(stage):
    grow = Grow(stage)
    connections = stage.qmp.connections
    with contextlib.ExitStack() as stall:
        with grow.half(granted=True):
            stall.enter_context(stage.qmp.stalled())
            begun = time.monotonic()
        grow.done()
        host_state(stage, 'no-qemu')
        refused_now(stage, REFUSED, 'QEMU does not answer')
        wait_until(lambda: time.monotonic() - begun > 30, 40, '30 s are over')
        assert stage.connected()
    connects_again(stage, connections)
    grow.end()


@fault('QMP is stalled for 30 s while it is to set the requested size of a grow',
       'refused HostUnavailable or HostRefused, nothing is granted; all agree and the job goes on')
def test_stalled_in_a_set(stage):
    grow = Grow(stage)
    connections = stage.qmp.connections
    with stage.qmp.hold(FROM_HOST, SET) as held:
        grow.start()
        held.wait()
        begun = time.monotonic()
        with stage.qmp.stalled():
            held.drop()
            grow.refused('org.vmtide.Error.Host')
            wait_until(lambda: time.monotonic() - begun > 30, 40, '30 s are over')
    connects_again(stage, connections)
    grow.end(grow.size)


@fault('QMP is closed before the answer to the setting of a requested size',
       'refused HostRefused (QEMU does not answer), what QEMU took is plugged; all agree and the job goes on')
def test_closed_before_the_answer(stage):
    grow = Grow(stage)
    connections = stage.qmp.connections
    with stage.qmp.hold(FROM_HOST, SET) as held:
        grow.start()
        held.wait()
        with stage.qmp.hold(TO_HOST, ANSWER) as answer:
            held.release()
            answer.wait()
            stage.qmp.cut()
            grow.refused(REFUSED, 'QEMU does not answer')
    connects_again(stage, connections)
    grow.end()


@fault('QMP is closed in the middle of a grow')
def test_closed_half_plugged(stage):
    grow = Grow(stage)
    connections = stage.qmp.connections
    with grow.half(granted=True):
        stage.qmp.cut()
    grow.done()
    connects_again(stage, connections)
    grow.end()


@fault('QMP answers in the wrong order in the middle of a grow')
def test_wrong_order(stage):
    grow = Grow(stage, GIB)
    kept, given, seen = [], [], len(stage.guest.host.text())

    def swap(command, line):
        """An answer to a query waits for that to the set that comes behind it."""
        if QUERY in command and not kept:
            kept.append(line)
            return ()
        if SET in command and kept and not given:
            given.append(line)
            return (line, kept[0])
        return (line,)

    with Answers(stage.qmp, swap) as answers:
        grow.start()
        wait_until(lambda: kept, 30, 'an answer is kept back')
        grow.done()
        grow.start()
        grow.done()
        assert answers.edited == 2
        # What the old answer said was not believed.
        assert 'somebody else changed' not in stage.guest.host.text()[seen:]
        grow.end(grow.target + GIB)


@fault('QEMU answers the setting of a requested size with an error',
       'refused HostRefused (QEMU did not take the requested size); then all agree and the job goes on')
def test_set_fails(stage):
    grow = Grow(stage)

    def refuse(direction, line):
        """QEMU never hears of it."""
        if direction == FROM_HOST and SET in line:
            stage.qmp.inject(TO_HOST, error_for(line))
            return ()
        return (line,)

    stage.qmp.edit = refuse
    try:
        grow.start()
        grow.refused(REFUSED, 'QEMU did not take the requested size')
        assert stage.guest.requested_size() == grow.size
        assert stage.agree(settled=True) == grow.size
        refused_now(stage, REFUSED, 'QEMU did not take')
    finally:
        stage.qmp.edit = None
    assert 'GenericError: made up by the test' in stage.guest.host.text()
    grow.start()
    grow.done()
    grow.end()


@fault('QEMU answers the setting of a requested size with an error, but has set it',
       'refused HostRefused, what QEMU took is plugged; all agree and the job goes on')
def test_set_works_and_fails(stage):
    grow = Grow(stage)
    with Answers(stage.qmp, lambda command, line: (error_for(line),) if SET in command else (line,)) as answers:
        grow.start()
        grow.refused(REFUSED, 'QEMU did not take the requested size')
        assert answers.edited == 1
    grow.end()


@pytest.mark.parametrize('command', ('query-memory-devices', 'query-memory-size-summary'))
@fault('QEMU answers {command} with errors for a while in the middle of a grow',
       'requests are refused HostRefused (QEMU does not answer) until then; all agree and the job goes on')
def test_queries_fail(stage, command):
    grow = Grow(stage)
    wanted = f'"{command}"'.encode()
    with contextlib.ExitStack() as errors:
        with grow.half(granted=True):
            answers = errors.enter_context(
                Answers(stage.qmp, lambda asked, line: (error_for(line),) if wanted in asked else (line,)))
            # The summary is asked for after connecting only.
            stage.qmp.cut()
        host_state(stage, 'no-numbers')
        grow.done()
        refused_now(stage, REFUSED, 'QEMU does not answer')
        assert answers.edited > 0
    wait_until(lambda: stage.host('State') == ['idle'], 30, 'the host knows the numbers again')
    grow.end()


@fault('QMP is gone for a while in the middle of a grow',
       'requests are refused HostRefused (QEMU does not answer) until then; all agree and the job goes on')
def test_gone_for_a_while(stage):
    grow = Grow(stage)
    connections = stage.qmp.connections
    try:
        with grow.half(granted=True):
            stage.qmp.open = False
            stage.qmp.cut()
        host_state(stage, 'no-qemu')
        grow.done()
        for _ in range(3):
            refused_now(stage, REFUSED, 'QEMU does not answer')
        assert stage.qmp.connections == connections
    finally:
        stage.qmp.open = True
    connects_again(stage, connections)
    grow.end()
