# SPDX-License-Identifier: MIT
"""Faults of the channel between guest and host."""

import contextlib
import re
import socket
import time

from tests.matrix import fault
from tests.vm.rig import RigError, wait_until

from .by_hand import Grow, refused_now, stopped
from .relay import FROM_HOST, TO_HOST

RESIZE, GRANTED = b'"resize"', b'"granted"'
UNAVAILABLE = 'org.vmtide.Error.HostUnavailable'
PORT = 'org.vmtide.0'
# Somebody in the guest who uses the port as the actuator does, but more.
CHATTER = f'exec 3<>/dev/virtio-ports/{PORT}; cat <&3 >/dev/null & while echo hello >&3; do sleep 0.01; done'


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


def throttled(guest):
    """QEMU takes nothing from the port; so it should be only while what it has taken waits for the socket's reader."""
    tree = guest.qmp('human-monitor-command', **{'command-line': 'info qtree'})
    return re.search(rf'id "port-{PORT}".*?throttle (\w+)', tree, re.S).group(1) == 'on'


def make_deaf(guest, tries=20):
    """Ends the port's socket with the VM stopped: QEMU does not see it, and throttles the port at the guest's next line,
    but for one try in some ten."""
    for _ in range(tries):
        with socket.socket(socket.AF_UNIX) as end:
            end.settimeout(20)
            end.connect(str(guest.channel_path))
            assert end.recv(4096)
            with stopped(guest):
                end.close()
        with contextlib.suppress(RigError):
            wait_until(lambda: throttled(guest), 1, 'nobody reads, and QEMU waits for that')
            return
    raise RigError(f'the port is not deaf after {tries} tries')


@fault('the host is killed with the VM stopped, and QEMU does not take anything from the port any more',
       'a new host is not heard, hangs up, connects anew and is; all agree and the job goes on')
def test_port_deaf(stage):
    guest = stage.guest
    stage.kill_host()
    guest.check('systemctl stop vmtide-monitor vmtide-actuator', 60)
    chatter = guest.start_command(CHATTER)
    make_deaf(guest)
    chatter.kill()
    chatter.wait(20)
    assert throttled(guest)
    connections = stage.channel.connections
    stage.daemon.restart()
    guest.check('systemctl start vmtide-actuator vmtide-monitor', 60)
    stage.wait_connected()
    assert stage.channel.connections >= connections + 2 and not throttled(guest)
    stage.agree(settled=True)
    stage.goes_on()
