# SPDX-License-Identifier: MIT
"""A guest's root on the channel, against the host's daemon: whatever it says, it gets no more than its limits, and the
VM beside it is served."""

import json
import os
import threading
import time
from pathlib import Path

from tests.matrix import malice

from .host_peers import rig
from .peers import BLOCK, GIB, MIB, wait_until
from .test_host_many import stats
from .test_malice_user import flat, held

assert rig


class Vm:
    """One of the VMs, for what all rows ask of it."""

    def __init__(self, rig, name, **settings):
        self.rig, self.name = rig, name
        self.qemu, self.guest = rig.add(name, **settings)
        self.number, self.size = 10 ** 6, 0

    def meet(self):
        self.guest.meet()
        return self

    def is_served(self):
        """A grow and a shrink, each at once, and within its rate."""
        for size in (BLOCK, 0):
            self.number += 1
            begun = time.monotonic()
            self.guest.resize(self.number, self.size + size)
            answer = self.guest.answer(self.number)
            assert answer['op'] == 'granted' or answer['code'] == 'rate', answer
            assert time.monotonic() - begun < 2
        time.sleep(0.05)

    def asks_for(self, size):
        """The answer."""
        self.number += 1
        self.guest.resize(self.number, size)
        return self.guest.answer(self.number)

    def is_bounded(self, size=2 * GIB):
        assert all(value <= size for _, value in self.qemu.sets())

    def comes_back(self):
        """It is served again when it behaves: its bad times cost it 10 s at most."""
        def granted():
            self.number += 1
            try:
                if not self.guest.all('welcome'):
                    self.guest.hello()
                self.guest.resize(self.number, GIB)
                return self.guest.answer(self.number, 1)['op'] == 'granted'
            except (AssertionError, OSError):
                return False
        wait_until(granted, 25, f'{self.name} is served again')

    def lines(self):
        """How much of the host's log is about it."""
        return self.rig.said(f'{self.name}:')


class Neighbours:
    """One VM that is root's toy, one that is not, and their host."""

    def __init__(self, rig, host=''):
        self.rig = rig
        self.vm, self.neighbour = Vm(rig, 'bad'), Vm(rig, 'good')
        self.qemu, self.bad, self.good = self.vm.qemu, self.vm.guest, self.neighbour.guest
        rig.write_config(host)
        rig.start(rig.vm_option('bad', max='2G'), rig.vm_option('good'))
        self.vm.meet()
        self.neighbour.meet()
        self.good_is_served = self.neighbour.is_served
        self.bad_is_bounded, self.bad_comes_back, self.bad_lines = self.vm.is_bounded, self.vm.comes_back, self.vm.lines
        self.before = held(rig.process)

    def flat(self):
        wait_until(lambda: flat(self.before, held(self.rig.process)), 10, 'the daemon is none the larger')


BOOT_LIES = ({'boot_size': 2 ** 62}, {'boot_size': 0}, {'memory_block_size': 0}, {'memory_block_size': 2 ** 63 - 1},
             {'memory_block_size': 3}, {'boot_size': -1}, {'boot_size': 'much'}, {'boot_size': 1e300}, {'v': 2 ** 62},
             {'agent': 'x' * 4000}, {'agent': 'a\nb\x1b[2J'}, {'boot_id': None})


@malice('a guest\'s root lies about its sizes in the hello', 'QEMU\'s numbers count, its limits hold')
def test_lies_in_the_hello(rig):
    world = Neighbours(rig)
    for lie in BOOT_LIES:
        world.bad.heard.clear()
        world.bad.say('hello', **{'v': 1, 'agent': 'test', 'boot_id': 'x', 'boot_size': GIB, 'memory_block_size': 128 * MIB, **lie})
        world.bad.resize(1, 2 * GIB + BLOCK)
        answer = world.bad.answer(1)
        assert (answer['op'], answer['code']) == ('refused', 'limit'), (lie, answer)
        for welcome in world.bad.all('welcome'):
            assert (welcome['max_size'], welcome['block_size'], welcome['size']) == (2 * GIB, BLOCK, 0)
        world.good_is_served()
    assert world.qemu.sets() == []
    # Nor does what it says of itself end up in a terminal.
    assert '\x1b' not in rig.log()


SIZES = (b'2149580800', b'9223372036854775807', b'9223372036854775808', b'18446744073709551615', b'18446744073709551616',
         b'-1', b'-9223372036854775808', b'1073741825', b'1', b'1.5', b'1073741824.0', b'1e9', b'1e400', b'-0.0', b'NaN',
         b'null', b'true', b'"1073741824"', b'[1073741824]', b'{"a":1}', b'0x40000000', b'1073741824,"size":4294967296')


@malice('a guest\'s root asks for sizes above its maximum, unaligned, negative, floating, beyond 64 bits',
        'nothing of it is set, each is refused or dropped')
def test_sizes_without_sense(rig):
    world = Neighbours(rig)
    for number, size in enumerate(SIZES):
        world.bad.raw(b'{"op":"resize","id":%d,"size":%s,"reason":"malice"}\n' % (number, size))
        world.good_is_served()
    world.bad.say('ping', id=99)
    world.bad.wait('pong', id=99)
    assert world.bad.all('granted') == [] and world.qemu.sets() == []
    world.bad_comes_back()
    world.flat()


NOISE = {
    'long': b'x' * (1 << 20) + b'\n',
    'half': b'{"op":"resize","id":1,"si',
    'utf8': b'{"op":"resize","id":1,"size":0,"reason":"\xff\xfe\xc0\x80\xed\xa0\x80"}\n',
    'nul': b'\0' * 4000 + b'\n',
    'deep': b'[' * 4000 + b'\n',
    'nested': b'{"op":"stats","a":' + b'[' * 1900 + b']' * 1900 + b'}\n',
    'hosts': b'{"op":"granted","id":1,"requested_size":4294967296}\n',
    'endless': b'y' * (1 << 20),
    'empty': b'\n' * 4096,
}
CUT_OFF = tuple(f'channel: more than {what} in 10 s; not listened to for 10 s'
                for what in ('100 bad lines', '2000 lines', '4 MiB'))


@malice('a guest\'s root sends lines of 1 MB, empty lines, half lines, bad UTF-8, NULs, deep nesting, what is the host\'s to say',
        'it is cut off unless its line has not ended, others are served, it is served again when it behaves')
def test_noise(rig):
    vms = [Vm(rig, name) for name in ('good', *NOISE)]
    rig.start(*(rig.vm_option(vm.name, max='2G') for vm in vms))
    good, *bad = [vm.meet() for vm in vms]
    before = held(rig.process)

    def send(vm):
        try:
            for _ in range(120):
                vm.guest.raw(NOISE[vm.name])
        except OSError:
            pass
    threads = [threading.Thread(target=send, args=(vm,), daemon=True) for vm in bad]
    for thread in threads:
        thread.start()
    for _ in range(20):
        good.is_served()
    for vm, thread in zip(bad, threads):
        thread.join(2)
        assert vm.qemu.sets() == [] and vm.lines() < 20, vm.name
        wait_until(lambda vm=vm: any(rig.said(f'{vm.name}: {text}') for text in CUT_OFF) == (vm.name != 'half'), 5,
                   f'{vm.name} is cut off')
        if thread.is_alive():
            vm.guest.hang_up()  # it is not listened to: the socket is full
        else:
            vm.guest.raw(b'\n')
    for vm in bad:
        vm.comes_back()
        vm.is_bounded()
    wait_until(lambda: flat(before, held(rig.process)), 10, 'the daemon is none the larger')


@malice('a guest\'s root asks 10,000 times a second', 'its rate and its maximum hold, others are served')
def test_requests_without_end(rig):
    world = Neighbours(rig)
    begun, stop = time.monotonic(), threading.Event()

    def ask():
        number = 0
        try:
            while not stop.is_set():
                lines = [json.dumps({'op': 'resize', 'id': number + i, 'size': (number + i) % 1500 * BLOCK, 'reason': 'm'})
                         for i in range(500)]
                world.bad.raw('\n'.join(lines).encode() + b'\n')
                number += 500
                stop.wait(0.05)
        except OSError:
            pass
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    for _ in range(20):
        world.good_is_served()
    stop.set()
    world.bad_is_bounded()
    assert 0 < len(world.qemu.sets()) <= 20 + 10 * (time.monotonic() - begun) + 1
    assert world.bad_lines() < 100 and rig.said('more than 2000 lines') >= 1
    world.bad.hang_up()
    thread.join(10)
    world.bad_comes_back()
    world.flat()


@malice('a guest\'s root asks and never reads', 'it is left, others are served')
def test_never_reads(rig):
    world = Neighbours(rig)
    world.bad.deaf = True
    world.bad.hang_up()
    wait_until(lambda: world.bad.connections == 2, 5, 'it is connected to again')
    world.bad.hello()
    try:
        for number in range(1900):
            world.bad.resize(2 ** 62 + number, GIB)
    except OSError:
        pass
    for _ in range(5):
        world.good_is_served()
    wait_until(lambda: rig.said('does not read') == 1, 5, 'it is left')
    world.bad_is_bounded()
    world.bad.deaf = False
    world.bad.connection.close()
    wait_until(lambda: world.bad.connections >= 3, 10, 'it is connected to again')
    world.bad_comes_back()


@malice('a guest\'s root says hello and hangs up, each time it is connected to',
        'it is come for 4 times a second, others are served, the daemon does not spin')
def test_hangs_up_without_end(rig):
    world = Neighbours(rig)
    stop, left = threading.Event(), []

    def hang_up():
        while not stop.is_set():
            number = world.bad.connections
            if number not in left:
                try:
                    world.bad.hello()  # whoever says something sensible is not waited for longer and longer
                    world.bad.hang_up()
                except OSError:
                    pass
                left.append(number)
            stop.wait(0.001)
    before, cpu = world.bad.connections, cpu_of(rig)
    thread = threading.Thread(target=hang_up, daemon=True)
    thread.start()
    begun = time.monotonic()
    while time.monotonic() - begun < 4:
        world.good_is_served()
    took, came = time.monotonic() - begun, world.bad.connections - before
    stop.set()
    thread.join(5)
    assert took < came <= 1 + 4 * took, (came, took)
    assert len(left) >= came
    assert cpu_of(rig) - cpu < took / 2
    assert world.bad_lines() < 40
    world.bad.heard.clear()  # the welcomes of connections that have ended
    world.bad_comes_back()
    world.flat()


def cpu_of(rig):
    fields = Path(f'/proc/{rig.process.pid}/stat').read_text(encoding='ascii').rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


@malice('a guest\'s root says hello again and again', 'each begins anew, nothing piles up')
def test_hello_without_end(rig):
    world = Neighbours(rig)
    for number in range(1500):
        world.bad.hello()
        if number % 100 == 0:
            world.bad.resize(number, GIB)
            world.good_is_served()
    world.bad_is_bounded()
    world.bad_comes_back()
    assert world.bad_lines() < 40
    world.flat()


def short_of_memory(rig):
    """Both want 2 GiB, of which there are none; what was touched of both is boot memory."""
    rig.set_rss(GIB)
    world = Neighbours(rig, 'HostReserve=2G')
    rig.set_available(2 * GIB)
    return world


@malice('a guest\'s root says critical for ever, and wants all there is',
        'a VM of the same weight that is short too gets its share, and the liar stops at its maximum')
def test_critical_for_ever(rig):
    world = short_of_memory(rig)
    stats(world.bad, 0, 'critical')
    stats(world.good, 10 * MIB, 'critical')
    for guest in (world.bad, world.good):
        guest.resize(1, 2 * GIB)
        assert guest.answer(1)['code'] == 'host-memory'
    rig.set_available(4 * GIB)
    for guest in (world.bad, world.good):
        guest.wait('room', 5)
    world.bad.resize(2, 2 * GIB)
    assert world.bad.answer(2)['requested_size'] == GIB
    stats(world.bad, 0, 'critical')
    world.good.resize(2, 2 * GIB)
    assert world.good.answer(2)['requested_size'] == GIB
    # It goes on wanting, and is given what nobody else needs, up to its maximum.
    rig.set_available(64 * GIB)
    world.bad.resize(3, 2 * GIB)
    assert world.bad.answer(3)['requested_size'] == 2 * GIB
    world.bad.resize(4, 2 * GIB + BLOCK)
    assert world.bad.answer(4)['code'] == 'limit'
    world.bad_is_bounded()


STATS_LIES = ({'available': 2 ** 63 - 1}, {'available': 2 ** 64}, {'total': 0}, {'some10': 10001}, {'some10': -1},
              {'level': 'panic'}, {'level': 7}, {'available': None})


@malice('a guest\'s root sends stats that cannot be', 'nothing is granted or asked on them, others are served')
def test_stats_that_cannot_be(rig):
    world = short_of_memory(rig)
    for lie in STATS_LIES:
        world.bad.say('stats', **{'available': 10 * MIB, 'total': GIB, 'some10': 0, 'level': 'normal', **lie})
    world.good.resize(1, GIB)
    assert world.good.answer(1)['code'] == 'host-memory'
    world.bad.say('ping', id=1)
    world.bad.wait('pong', id=1)
    # What it would have to spare, it has not been given: it is not asked below its size.
    assert all(m['size'] == 0 for m in world.bad.all('shrink'))
    assert world.qemu.sets() == []
    world.flat()


@malice('a guest\'s root declines each shrink, and those that nobody asked for',
        'it keeps what it was granted and gets no more, asked less and less often; others get what is there')
def test_declines_every_shrink(rig):
    world = short_of_memory(rig)
    rig.set_available(4 * GIB)
    world.bad.resize(1, 2 * GIB)
    assert world.bad.answer(1)['requested_size'] == 2 * GIB
    stats(world.bad, 2 * GIB)
    world.good.resize(1, GIB)
    assert world.good.answer(1)['code'] == 'host-memory'
    shrink = world.bad.wait('shrink', 5)
    for number in (0, 2 ** 62, shrink['id'] + 1):
        world.bad.say('declined', id=number, code='in-use')
    world.bad.say('ping', id=1)
    world.bad.wait('pong', id=1)
    assert rig.said('declines to shrink') == 0
    for number in (shrink['id'], shrink['id'], 0, 2 ** 62, shrink['id'] + 1):
        world.bad.say('declined', id=number, code='in-use')
        stats(world.bad, 2 * GIB)
    wait_until(lambda: rig.said('declines to shrink') == 1, 5, 'it is heard, once')
    world.bad.resize(2, 2 * GIB + BLOCK)
    assert world.bad.answer(2)['code'] == 'limit'
    assert len(world.bad.all('shrink')) == 1
    # 1 GiB comes: it is not the one who declined that gets it.
    rig.set_available(5 * GIB)
    world.good.wait('room', 15)
    world.good.resize(2, GIB)
    assert world.good.answer(2)['requested_size'] == GIB
