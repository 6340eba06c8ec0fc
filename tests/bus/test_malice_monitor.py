# SPDX-License-Identifier: MIT
"""A monitor that was taken over, on the actuator's two lines. What it can do in a real guest is in
tests/vm/faults/test_malice_monitor.py."""

import time

from tests.matrix import malice

from .actuator_stage import get, plug, refused, stage, strict_stage
from .conftest import ACTUATOR, NOBODY
from .dbus_client import DBusError
from .peers import GIB, MIB, wait_until
from .test_malice_user import flat, held

assert stage and strict_stage


@malice('a monitor that was taken over unplugs more than is available', 'it is refused; an administrator is not')
def test_unplugs_what_is_in_use(stage):
    stage.up()
    monitor, root = stage.client(private=True, uid=NOBODY), stage.client(private=True)
    # 800 MiB are available of 960.
    error = refused(monitor, 'Unplug', 'ts', 674 * MIB, 'malice')
    assert error.full_name == 'org.vmtide.Error.BelowMinimum' and 'available' in error.text and '128M stay' in error.text
    serial = monitor.send('Unplug', 'ts', 672 * MIB, 'malice', at=ACTUATOR)
    assert stage.host.grant()['size'] == 352 * MIB
    assert monitor.reply(serial) == (352 * MIB,)
    # It is not gone yet, and is not there twice.
    assert refused(monitor, 'Unplug', 'ts', 2 * MIB, 'malice').name == 'BelowMinimum'
    (stage.folder / 'proc/meminfo').write_text('nonsense\n', encoding='ascii')
    assert refused(monitor, 'Unplug', 'ts', 2 * MIB, 'malice').name == 'BelowMinimum'
    serial = root.send('Unplug', 'ts', 2 * MIB, 'root', at=ACTUATOR)
    assert stage.host.grant()['size'] == 350 * MIB
    assert root.reply(serial) == (350 * MIB,)
    # What was granted and has not come yet may be taken back.
    stage.host.say('size', size=350 * MIB, requested_size=GIB)
    wait_until(lambda: get(root, 'RequestedSize') == GIB, 5, 'the host has changed it')
    serial = monitor.send('Unplug', 'ts', 512 * MIB, 'monitor', at=ACTUATOR)
    assert stage.host.grant()['size'] == 512 * MIB
    assert monitor.reply(serial) == (512 * MIB,)


@malice('a monitor that was taken over calls what is not its own', 'it is denied on both lines')
def test_what_is_not_its_own(stage):
    stage.up()
    stage.on_bus()
    for private in (True, False):
        monitor = stage.client(private=private, uid=NOBODY)
        for member, signature, *arguments in (('SetLimits', 'ttb', 0, 0, True), ('SetLimits', 'ttb', 0, GIB, False),
                                              ('Reserve', 'tss', MIB, 'x', 'y')):
            assert refused(monitor, member, signature, *arguments).full_name == 'org.freedesktop.DBus.Error.AccessDenied'
    assert get(stage.client(private=True), 'MaxSize') == 4 * GIB


@malice('a monitor that was taken over reports lies without end, and declines shrinks that nobody asked for',
        'the host hears 5 a second of the ones and none of the others')
def test_reports_and_declines_without_end(strict_stage):
    stage = strict_stage
    stage.up()
    monitor = stage.client(private=True, uid=NOBODY)
    begun = time.monotonic()
    for i in range(1000):
        error = refused(monitor, 'DeclineShrink', 'ts', i, 'busy')
        assert error.name == 'InvalidArgs'
        try:
            monitor.call('Report', 'ttus', i, 0, 10000, 'critical', at=ACTUATOR)
        except DBusError as limited:
            assert limited.name == 'RateLimited'
    most = 20 + 5 * (time.monotonic() - begun) + 1
    ops = []
    while (line := stage.host.line(0.3)) is not None:
        ops.append(line['op'])
    assert 20 <= ops.count('stats') <= most < 1000 and set(ops) <= {'stats', 'ping'}


@malice('a monitor that was taken over comes again 500 times, and again while it is there',
        'one is served at a time, root beside it, the actuator is none the larger')
def test_comes_again_and_again(stage):
    stage.up()

    def come(times):
        for _ in range(times):
            try:
                monitor = stage.client(private=True, uid=NOBODY)
                get(monitor, 'Size')
            except OSError:
                continue  # the one before is not gone yet
            try:
                stage.client(private=True, uid=NOBODY)
                assert False, 'a second one'
            except OSError:
                pass
            monitor.close()
            stage.clients.remove(monitor)
    come(50)
    before = held(stage.processes['actuator'])
    come(500)
    assert get(stage.client(private=True), 'Size') == GIB
    stage.clients.pop().close()
    wait_until(lambda: flat(before, held(stage.processes['actuator'])), 5, 'nothing is left')


def ask_without_reading(stage):
    """Until it is hung up on."""
    monitor = stage.client(private=True, uid=NOBODY)
    for _ in range(200000):
        try:
            monitor.send('Introspect', at=(*ACTUATOR[:2], 'org.freedesktop.DBus.Introspectable'))
        except OSError:
            return
    raise AssertionError('it may ask for ever')


@malice('a monitor that was taken over asks without reading the answers', 'it is hung up on, others are answered')
def test_does_not_read(stage):
    stage.up()
    root = stage.client(private=True)
    ask_without_reading(stage)
    assert stage.says('does not read its') == 1
    serial = plug(root, 2 * MIB)
    stage.host.grant()
    assert root.reply(serial) == (GIB + 2 * MIB,)
    # The first ones make the heap as large as it gets, on a busy machine not at once; what leaks would go on to grow it.
    for times in range(2, 8):
        before = held(stage.processes['actuator'])
        ask_without_reading(stage)
        wait_until(lambda n=times: stage.says('does not read its') == n, 5, 'it is hung up on')
        wait_until(lambda: held(stage.processes['actuator'])[1] <= before[1], 5, 'its descriptor is closed')
        if flat(before, held(stage.processes['actuator'])):
            return
    raise AssertionError('each one leaves something')
