# SPDX-License-Identifier: MIT
"""Faults of the channel between guest and host."""

import contextlib
import time

from tests.matrix import fault
from tests.vm.rig import wait_until

from .by_hand import Grow, refused_now
from .relay import FROM_HOST, TO_HOST

RESIZE, GRANTED = b'"resize"', b'"granted"'
UNAVAILABLE = 'org.vmtide.Error.HostUnavailable'
PORT = 'org.vmtide.0'


def wait_gone(stage, timeout=30):
    wait_until(lambda: stage.actuator('HostConnected', 'State') == ['false', '"disconnected"'], timeout,
               'the actuator sees that the host has gone')


@fault('the port is unplugged from a running guest in the middle of a grow, and plugged in again',
       'requests are refused HostUnavailable until then; all agree and the job goes on')
def test_port_unplugged(stage):
    grow = Grow(stage)
    begun = time.monotonic()
    with grow.half(granted=True):
        stage.guest.qmp('device_del', id=f'port-{PORT}')
        stage.guest.wait_event('DEVICE_DELETED', 20, begun)
    try:
        wait_gone(stage)
        refused_now(stage, UNAVAILABLE, 'host')
    finally:
        stage.guest.qmp('device_add', driver='virtserialport', id=f'port-{PORT}', chardev=PORT, name=PORT)
    stage.wait_connected()
    grow.done()
    grow.end()


@fault('the channel is cut in the middle of the line that grants a grow',
       'the caller is told HostUnavailable, what was granted is plugged; all agree and the job goes on', sample=True)
def test_cut_in_a_grant(stage):
    grow = Grow(stage)
    connections = stage.channel.connections
    stage.channel.cut_in_line(FROM_HOST, GRANTED)
    grow.start()
    grow.refused(UNAVAILABLE)
    stage.wait_connected()
    assert stage.channel.connections > connections
    grow.end()


@fault('the channel is cut in the middle of the line that asks for a grow',
       'the caller is told HostUnavailable, nothing is granted; all agree and the job goes on')
def test_cut_in_a_request(stage):
    grow = Grow(stage)
    stage.channel.cut_in_line(TO_HOST, RESIZE)
    grow.start()
    grow.refused(UNAVAILABLE)
    stage.wait_connected()
    grow.end(grow.size)


@fault('the host is silent in the channel for 30 s in the middle of a grow and answers no ping',
       'the grow ends; the actuator hangs up and refuses HostUnavailable; all agree and the job goes on')
def test_silence(stage):
    grow = Grow(stage)
    with contextlib.ExitStack() as silence:
        with grow.half(granted=True):
            silence.enter_context(stage.channel.stalled())
            silent = time.monotonic()
        grow.done()
        assert stage.guest.size() == grow.target and stage.connected()
        wait_gone(stage, 60)
        assert time.monotonic() - silent >= 30
        refused_now(stage, UNAVAILABLE, 'host')
    stage.wait_connected()
    grow.end()


@fault('every line of the channel arrives twice')
def test_lines_twice(stage):
    stage.channel.edit = lambda _direction, line: (line, line)
    try:
        grow = Grow(stage)
        stage.channel.cut()
        stage.wait_connected()
        seen = len(stage.channel.lines)
        grow.start()
        grow.done()
        grow.end()
    finally:
        stage.channel.edit = None
    grants = [line for way, line in stage.channel.lines[seen:] if way == FROM_HOST and GRANTED in line]
    assert len(grants) >= 4 and all(grants.count(line) % 2 == 0 for line in grants)


@fault('a grant arrives 20 s late, with all that the host says after it',
       'the caller is told HostUnavailable, what was granted is plugged; all agree and the job goes on')
def test_late_grant(stage):
    grow = Grow(stage)
    with stage.channel.hold(FROM_HOST, GRANTED) as held:
        grow.start()
        held.wait()
        late = time.monotonic() + 20
        grow.refused(UNAVAILABLE, 'did not answer')
        assert stage.guest.requested_size() == grow.target
        # The guest takes the host's word for a size, and that is late.
        assert stage.actuator('RequestedSize') == [str(grow.size)]
        # Another one, asked on top of that, would take away what is granted.
        refused_now(stage, UNAVAILABLE, 'did not answer')
        wait_until(lambda: time.monotonic() >= late, 30, '20 s are over')
        assert stage.guest.requested_size() == grow.target
    grow.end()
