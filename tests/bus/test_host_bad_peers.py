# SPDX-License-Identifier: MIT
"""vmtide-host with a QEMU or a guest that lies, stalls, floods or talks nonsense."""

import time

import pytest

from .host_peers import rig
from .peers import GIB, MIB, patience, wait_until


@pytest.mark.parametrize('way', ('error', 'stall', 'close', 'wrong-id', 'no-id', 'garbage', 'list'))
def test_qmp_that_misbehaves_grants_nothing(rig, way):
    qemu, guest = rig.simple('QMPTimeout=300ms')
    qemu.on['qom-set'] = way
    for number in range(3):
        guest.resize(number, GIB)
    answers = [guest.answer(number) for number in range(3)]
    assert all(a['op'] == 'refused' and a['code'] == 'device' for a in answers), answers
    qemu.on.clear()

    def granted(number=iter(range(10, 1000))):
        n = next(number)
        guest.resize(n, GIB)
        return guest.answer(n)['op'] == 'granted' or time.sleep(0.1)
    wait_until(granted, 10, 'the job goes on')
    log = rig.log()
    assert len(log.splitlines()) < 30, log


def test_an_answer_twice_is_no_grant(rig):
    qemu, guest = rig.simple('QMPTimeout=300ms')
    qemu.on['qom-set'] = 'twice'
    guest.resize(1, GIB)
    assert guest.answer(1)['op'] == 'granted'
    wait_until(lambda: rig.said('an answer to no command of ours') == 1, 5, 'it is said')
    assert len(guest.all('granted')) == 1


@pytest.mark.parametrize('lie', (
    {'size': 64 * GIB}, {'size': 4097}, {'requested-size': 64 * GIB}, {'block-size': 0}, {'block-size': 3 * MIB},
    {'max-size': 2 ** 62 + 1}, {'size': -1}, {'size': 'much'}, {'requested-size': None}, {'id': 'vm9'},
))
def test_qmp_that_lies_is_not_believed(rig, lie):
    qemu, guest = rig.simple('QMPTimeout=300ms')
    qemu.lie = lie
    qemu.event('MEMORY_DEVICE_SIZE_CHANGE', id='vm0', size=0)
    wait_until(lambda: rig.said('; ignored') == 1, 5, 'it is said')
    guest.resize(1, GIB)
    assert guest.answer(1)['code'] == 'device'
    assert qemu.sets() == []
    qemu.lie = {}
    wait_until(lambda: len(qemu.queries()) >= 2 and rig.said('guest: size 0, requested 0') == 2, 15, 'it is asked again')
    guest.resize(2, GIB)
    assert guest.answer(2)['requested_size'] == GIB
    assert rig.said('; ignored') == 1


def test_qmp_without_greeting_and_in_use(rig):
    qemu, guest = rig.add()
    qemu.silent = True
    rig.write_config('QMPTimeout=200ms')
    rig.start(rig.vm_option('guest'))
    wait_until(lambda: guest.all('who'), 5, 'who')
    guest.hello()
    guest.resize(1, GIB)
    assert guest.answer(1)['code'] == 'device'
    wait_until(lambda: qemu.connections >= 3, 10, 'it tries again')
    assert guest.all('welcome') == []
    assert rig.said('is there another?') == 1
    qemu.silent = False
    guest.wait('welcome', 10)


def test_qmp_flood_and_long_lines(rig):
    qemu, guest = rig.simple()
    qemu.send(b'x' * (1 << 20) + b'\n')
    qemu.send(b'{"return":{},"id":777777}\n' * 90)
    guest.resize(1, GIB)
    assert guest.answer(1)['op'] == 'granted'
    assert qemu.connections == 1
    qemu.send(b'nonsense\n' * 90)
    wait_until(lambda: qemu.connections == 2, 5, 'it is left')
    assert rig.said('more than 100 faults') == 1
    guest.wait('size', requested_size=GIB)
    assert len(rig.log().splitlines()) < 20


GARBAGE = (b'garbage\n', b'{"op":"resize","id":1\n', b'{"op":"resize","id":"x","size":[],"reason":1}\n', b'\x00\xff\n',
           b'[]\n', b'{"op":"resize","id":1,"size":-1,"reason":""}\n', b'{"op":"resize","id":1,"size":1.5,"reason":""}\n',
           b'x' * (1 << 20) + b'\n')


def test_garbage_on_the_channel(rig):
    qemu, guest = rig.simple()
    for line in GARBAGE:
        guest.raw(line)
    guest.raw(b'\n')
    guest.say('conquer', id=1)
    guest.say('granted', id=1, requested_size=GIB)
    wait_until(lambda: len(guest.all('error')) == 2, 5, 'wrong ops are answered')
    guest.raw(b'{"op":"resi')
    guest.raw(b'ze","id":7,"size":%d,"reason":"halves","more":[1]}\n' % GIB)
    assert guest.answer(7)['op'] == 'granted'
    assert qemu.sets() == [('vm0', GIB)]
    assert rig.said('dropped') == 1


def test_half_a_line_that_ate_the_hello(rig):
    _, guest = rig.add()
    rig.start(rig.vm_option('guest'))
    wait_until(lambda: guest.all('who'), 5, 'who')
    guest.raw(b'{"op":"stats","avail')
    guest.hello()
    wait_until(lambda: len(guest.all('who')) == 2, 5, 'it is asked again')
    guest.hello()
    guest.wait('welcome')


def test_a_guest_that_is_not_heard_is_connected_to_anew(rig):
    _, guest = rig.add()
    begun = time.monotonic()
    rig.start(rig.vm_option('guest'))
    wait_until(lambda: guest.connections == 2, 15, 'there is another connection')
    assert time.monotonic() - begun >= 10
    wait_until(lambda: len(guest.all('who')) == 2, 5, 'it is asked there, too')
    guest.hello()
    guest.wait('welcome')
    assert rig.said('nothing is heard on it; connecting again') == 1


def test_a_flood_is_cut_off_for_ten_seconds(rig):
    _, guest = rig.simple()
    begun = time.monotonic()
    guest.raw(b'nonsense\n' * 5000)
    wait_until(lambda: rig.said('not listened to for 10 s') == 1, 5, 'it is cut off')
    guest.raw(b'\n')  # what comes first may be the end of a line and is dropped
    guest.resize(1, GIB)
    assert guest.answer(1, 15)['op'] == 'granted'
    assert 9.9 <= time.monotonic() - begun <= patience(12)
    assert len(rig.log().splitlines()) < 10


def test_a_guest_that_does_not_read_is_left(rig):
    _, guest = rig.add()
    guest.deaf = True
    rig.start(rig.vm_option('guest'))
    wait_until(lambda: guest.connection, 5, 'it connects')
    guest.hello()
    try:
        for number in range(1900):
            guest.resize(2 ** 62 + number, GIB)
    except OSError:
        pass  # it has left already
    wait_until(lambda: rig.said('does not read') == 1, 5, 'it is left')
    guest.deaf = False
    guest.connection.close()
    wait_until(lambda: guest.connections >= 2 and guest.all('who'), 5, 'it comes back')
    guest.meet()
