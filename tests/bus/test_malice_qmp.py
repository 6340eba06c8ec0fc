# SPDX-License-Identifier: MIT
"""A QMP peer that is no QEMU, or one that was taken over: nothing is granted on its word, and the VM beside it is
served. Its single faults are in test_host_bad_peers.py."""

import errno
import json
import mmap
import os
import shutil
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.matrix import fault, malice

from .host_peers import rig
from .peers import GIB, MIB, listen, wait_until
from .test_malice_guest import Vm
from .test_malice_user import flat, held

assert rig
# What a thing with a mouth may say in place of an answer.
NONSENSE = (b'null', b'[]', b'""', b'0', b'-1', b'1.5', b'true', b'{}', b'{"return":1}', b'{"return":{},"id":1,"error":{}}',
            b'{"return":{},"id":-1}', b'{"return":{},"id":1.5}', b'{"return":{},"id":"1"}', b'{"return":{},"id":[]}',
            b'{"return":{},"id":99999999999999999999}', b'{"QMP":1}', b'{"QMP":{}}', b'{"event":1}', b'{"event":{}}',
            b'{"event":"' + b'x' * 5000 + b'"}', b'{"event":"MIGRATION","data":7}', b'{"error":7}',
            b'{"error":{"class":1,"desc":2},"id":1}', b'{"return":[{"type":"virtio-mem"}],"id":1}',
            b'{"a":' * 500 + b'1' + b'}' * 500, b'[' * 100000, b'[' * 60000 + b']' * 60000, b'x' * (1 << 20),
            b'{"return":{},"return":{},"id":1}', b'\xff\xfe{"return":{}}', b'{"return":"\\u0000","id":1}')
VALUES = (None, True, -1, 1.5, '1G', [], {}, 2 ** 63 - 1, 4097, 1 << 60)


class Bad(Vm):
    """Its QEMU is what is bad; its guest asks, and is to get nothing."""

    def __init__(self, rig):
        super().__init__(rig, 'bad')

    def asks(self):
        self.number += 1
        self.guest.resize(self.number, GIB)
        return self.guest.answer(self.number, 10)

    def gets_nothing(self):
        answer = self.asks()
        assert (answer['op'], answer['code']) in (('refused', 'device'), ('refused', 'rate'), ('refused', 'busy')), answer

    def say(self, data):
        """When it is connected."""
        try:
            self.qemu.send(data)
        except OSError:
            pass

    def hang_up(self):
        try:
            self.qemu.hang_up()
        except OSError:
            pass  # it has left already

    def event(self, size=0):
        self.say(json.dumps({'event': 'MEMORY_DEVICE_SIZE_CHANGE', 'data': {'id': 'vm0', 'size': size}}).encode() + b'\r\n')


@pytest.fixture(name='pair')
def two_vms(rig):
    good, bad = Vm(rig, 'good'), Bad(rig)
    rig.write_config('QMPTimeout=300ms')
    rig.start(*(rig.vm_option(name, max='4G') for name in ('good', 'bad')))
    yield good.meet(), bad.meet()
    bad.qemu.on.clear()
    bad.qemu.lie = {}
    # What it said of its state, that it migrates for one, it is asked for when it is met again.
    bad.hang_up()
    bad.comes_back()
    good.is_served()


@malice('a QMP peer says nonsense of every type in place of answers, deep nesting and lines of 1 MB among it',
        'nothing is granted, the VM beside it is served, the daemon is none the larger')
def test_nonsense(rig, pair):
    good, bad = pair
    before = held(rig.process)
    bad.qemu.on['qom-set'] = 'stall'
    for line in NONSENSE:
        bad.say(line + b'\r\n')
        good.is_served()
    bad.gets_nothing()
    assert bad.qemu.size == {'vm0': 0} and bad.guest.all('granted') == []
    assert bad.lines() < 60, rig.log()
    wait_until(lambda: flat(before, held(rig.process)), 10, 'nothing is left of it')


@pytest.mark.parametrize('key', ('size', 'requested-size', 'max-size', 'block-size', 'id'))
@malice('a QMP peer says values of every type and size for what its device has',
        'a device that cannot be is not believed, and gets nothing')
def test_lies_of_every_type(rig, pair, key):
    good, bad = pair
    for value in VALUES:
        if (key, value) == ('max-size', 1 << 60):
            continue  # such a device there may be: its own limits are what holds
        bad.qemu.lie = {key: value}
        bad.event()
        wait_until(lambda: bad.asks().get('code') == 'device', 5, f'{key}={value} is not believed')
        good.is_served()
    # Before the first lie has come it may have been given what it asked for.
    assert len(bad.guest.all('granted')) <= 1


@malice('a QMP peer says that it has grown by itself, far beyond its maximum',
        'it gets nothing more; what it says counts as promised: others are refused at once, and not given what is not there')
def test_says_it_is_large(rig, pair):
    good, bad = pair
    bad.qemu.lie = {'max-size': 1 << 50, 'size': 1 << 49, 'requested-size': 1 << 49}
    bad.event(1 << 49)
    wait_until(lambda: rig.said('bad: somebody else changed') == 1, 5, 'it is seen')
    assert bad.asks()['op'] == 'granted'  # to shrink to a part of it
    bad.number += 1
    bad.guest.resize(bad.number, (1 << 49) + 2 * MIB)
    assert bad.guest.answer(bad.number)['op'] == 'refused'
    good.number += 1
    good.guest.resize(good.number, GIB)
    assert good.guest.answer(good.number)['code'] == 'host-memory'
    assert all(value <= GIB for _, value in bad.qemu.sets())
    bad.qemu.lie = {}
    bad.event()
    # Until then it counts, and the one beside it has to wait.
    bad.guest.wait('size', 5, size=bad.qemu.size['vm0'], requested_size=bad.qemu.requested['vm0'])


@malice('a QMP peer floods events and answers that nobody asked for', 'it is left, asked not more often, others are served')
def test_floods(rig, pair):
    good, bad = pair
    before, begun = held(rig.process), time.monotonic()
    asked = len(bad.qemu.queries())
    stop = threading.Event()
    lines = b''.join(json.dumps({'event': name, 'data': data, 'timestamp': {'seconds': 1, 'microseconds': 2}}).encode() + b'\r\n'
                     for name, data in (('MEMORY_DEVICE_SIZE_CHANGE', {'id': 'vm0', 'size': 0}), ('RESET', {'guest': True}),
                                        ('STOP', {}), ('RESUME', {}), ('MIGRATION', {'status': 'active'}),
                                        ('MIGRATION', {'status': 'completed'}))) * 100

    def flood():
        while not stop.is_set():
            bad.say(lines)
            stop.wait(0.01)
    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    for _ in range(15):
        good.is_served()
    stop.set()
    thread.join(10)
    took = time.monotonic() - begun
    assert rig.said('more than 5000 lines') >= 1
    assert len(bad.qemu.queries()) - asked < 60 * took + 20
    assert bad.lines() < 100, bad.lines()
    wait_until(lambda: flat(before, held(rig.process)), 10, 'nothing is left of it')


@malice('a QMP peer answers what it is asked, floods long lines until it is left, and does so again each time it is connected to',
        'its limit counts over all of its connections')
def test_floods_over_new_connections(rig, pair):
    good, bad = pair
    line = json.dumps({'event': 'X', 'data': {'x': ['y'] * 15000}, 'timestamp': {}}).encode() + b'\r\n'
    sent, connections, asked, end = 0, 0, 0, time.monotonic() + 6
    while time.monotonic() < end:
        if len(bad.qemu.queries()) == asked:
            time.sleep(0.02)
            continue
        asked, connections = len(bad.qemu.queries()), connections + 1
        try:
            while time.monotonic() < end:
                bad.qemu.send(line)
                sent += len(line)
        except OSError:
            pass  # it was left
    assert connections > 0 and 16 * MIB < sent < 48 * MIB, (connections, sent)
    good.is_served()


@pytest.mark.parametrize('way', ('stall', 'close', 'wrong-id', 'no-id', 'garbage', 'list', 'error'))
@malice('a QMP peer does not answer, closes in the middle, or answers another id, whatever it is asked',
        'nothing is granted, its guest is refused at once or in time, others are served')
def test_answers_nothing_right(rig, pair, way):
    good, bad = pair
    bad.qemu.on['qom-set'] = way
    bad.gets_nothing()
    bad.qemu.on['query-memory-devices'] = way
    bad.event()
    for _ in range(3):
        bad.gets_nothing()
        good.is_served()
    assert bad.guest.all('granted') == [] and bad.lines() < 40


@pytest.mark.parametrize('way', ('stall', 'take-stall', 'take-error', 'take-close', 'not-done'))
@malice('a QMP peer takes the requested size and says that it did not, or the other way about ({way})',
        'what it might have taken stays promised, no other VM is given the same bytes')
def test_what_it_may_have_taken_is_not_given_twice(rig, pair, way):
    good, bad = pair
    rig.set_rss(GIB)
    rig.write_config('QMPTimeout=300ms\nHostReserve=2G')
    rig.reload()
    wait_until(lambda: rig.said('serving 2 VMs') == 2, 5, 'it is loaded')
    rig.set_available(3 * GIB + 512 * MIB)
    # Whether it has taken it is known to it alone, as long as it does not tell what it has.
    bad.qemu.on['query-memory-devices'] = 'stall'
    bad.qemu.on['qom-set'] = way
    if way == 'not-done':
        assert bad.asks()['requested_size'] == GIB
    else:
        bad.gets_nothing()
    assert bad.qemu.requested['vm0'] == (GIB if way.startswith('take-') else 0)
    good.number += 1
    good.guest.resize(good.number, GIB + 512 * MIB)
    assert good.guest.answer(good.number)['requested_size'] == 512 * MIB
    assert sum(value for _, value in good.qemu.sets()) == 512 * MIB
    rig.set_available(64 * GIB)


@pytest.fixture(name='beside')
def a_vm_beside_one_whose_qemu_never_speaks(rig):
    """The silent one accepts connections and sends nothing. It has no MaxSize=."""
    vm, silent = Vm(rig, 'good'), Vm(rig, 'silent')
    silent.qemu.silent = True
    rig.set_available(8 * GIB)
    rig.write_config('HostReserve=1G\nQMPTimeout=300ms\nRequestRate=1000\nRequestBurst=1000')
    return vm, silent


def restart_host(rig):
    """Kills the daemon and starts it with the same VMs."""
    rig.process.kill()
    rig.process.wait(5)
    rig.start(*(rig.vm_option(name) for name in rig.vms))


def record(rig):
    """The promises that the daemon has saved; empty while the file is invalid."""
    try:
        return json.loads((rig.folder / 'promised').read_text(encoding='ascii'))['promised']
    except (OSError, ValueError, TypeError, KeyError):
        return {}


@malice('a QMP peer accepts the connection and stays silent, and its VM has no maximum',
        'no memory counts as promised to it: the host grants memory to other VMs')
def test_silence_counts_as_nothing(rig, beside):
    vm, silent = beside
    rig.start(rig.vm_option('silent'), rig.vm_option('good'))
    wait_until(lambda: silent.qemu.connections >= 2, 10, 'it is dialled again')
    vm.meet()
    for number in range(1, 31):
        vm.guest.resize(number, number % 2 * 3 * GIB)
        answer = vm.guest.answer(number)
        assert answer['op'] == 'granted', answer


@malice('a QMP peer goes silent, and the daemon restarts', 'the promise to its VM counts until the peer replies')
def test_a_promise_outlives_a_restart(rig, beside):
    vm, silent = beside
    silent.qemu.silent = False
    rig.start(rig.vm_option('silent'), rig.vm_option('good'))
    vm.meet()
    silent.meet()
    silent.guest.resize(1, 4 * GIB)
    assert silent.guest.answer(1)['op'] == 'granted'
    wait_until(lambda: record(rig).get('silent') == 5 * GIB, 10, 'it is saved')
    silent.qemu.silent = True
    restart_host(rig)
    wait_until(lambda: silent.qemu.connections >= 3, 10, 'it is dialled again')
    vm.meet()
    # Of 8 GiB, 1 is the reserve, 5 are promised to the silent VM, and 1 is the boot memory of the other.
    vm.guest.resize(2, 2 * GIB)
    answer = vm.guest.answer(2)
    assert answer['op'] == 'granted' and answer['requested_size'] <= GIB, answer
    silent.qemu.silent = False
    wait_until(lambda: silent.guest.all('who'), 10, 'it is met')
    silent.meet()


def write_record(rig, **promised):
    (rig.folder / 'promised').write_text(json.dumps({'version': 1, 'promised': promised}), encoding='ascii')


def grows_within(vm, most):
    """2 GiB are asked for, and no more than MOST granted. What is promised to others is known at once, and stays so."""
    for _ in range(20):
        answer = vm.asks_for(2 * GIB)
        assert answer.get('requested_size', 0) <= most, answer
        time.sleep(0.05)


@malice('a QMP peer hangs with a full queue of connections, and the daemon restarts',
        'the promise to its VM counts on')
def test_a_promise_outlives_a_queue_that_is_full(rig):
    vm = Vm(rig, 'good')
    rig.set_available(8 * GIB)
    rig.write_config('HostReserve=1G\nQMPTimeout=300ms\nRequestRate=1000\nRequestBurst=1000')
    path = rig.folder / 'hung.qmp'
    write_record(rig, hung=5 * GIB)
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(str(path))
        server.listen(0)
        for _ in range(9):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            if client.connect_ex(str(path)) == errno.EAGAIN:
                break
        rig.start(rig.vm_option('good'), f'--vm=hung,channel={rig.folder}/hung.channel,qmp={path},device=vm0')
        vm.meet()
        wait_until(lambda: rig.said('hung: QEMU\'s monitor: cannot connect') >= 1, 5, 'its queue is full')
        # Of 8 GiB, 1 is the reserve, 5 are promised to the silent VM, and 1 is the boot memory of the other.
        grows_within(vm, GIB)
        # It has ended: nobody listens.
    wait_until(lambda: vm.asks_for(2 * GIB).get('requested_size') == 2 * GIB, 10, 'nothing is promised to it any more')
    wait_until(lambda: record(rig).get('hung') == 0, 10, 'nor after a restart')


@malice('a libvirtd accepts the connection and stays silent, and the daemon restarts',
        'the promises to its domains count on')
def test_promises_of_domains_outlive_a_restart(rig):
    vm = Vm(rig, 'good')
    rig.set_available(8 * GIB)
    path = rig.folder / 'libvirt.sock'
    write_record(rig, dom=5 * GIB, other=GIB)
    rig.write_config('HostReserve=1G\nRequestRate=1000\nRequestBurst=1000',
                     f'[Libvirt]\nURI=qemu+unix:///system?socket={path}\n[VM dom]\nDomain=dom')
    with listen(path):
        rig.start(rig.vm_option('good'))
        vm.meet()
        # As above. What is recorded of another name is of no VM that there may be.
        grows_within(vm, GIB)
    rig.process.kill()
    rig.process.wait(5)
    # With all domains it may be one.
    write_record(rig, dom=4 * GIB, other=GIB)
    rig.write_config('HostReserve=1G\nRequestRate=1000\nRequestBurst=1000',
                     f'[Libvirt]\nURI=qemu+unix:///system?socket={path}.none\nAllDomains=yes')
    rig.start(rig.vm_option('good'))
    vm.meet()
    grows_within(vm, GIB)


@malice('a domain with a promise ends while the daemon is stopped', 'libvirt does not list the domain: its promise ends')
def test_a_domain_that_has_ended_counts_as_nothing(rig):
    vm = Vm(rig, 'good')
    rig.set_available(8 * GIB)
    write_record(rig, dom=5 * GIB)
    rig.write_config('HostReserve=1G\nRequestRate=1000\nRequestBurst=1000', '[Libvirt]\nURI=test:///default\nAllDomains=yes')
    rig.start(rig.vm_option('good'))
    vm.meet()
    wait_until(lambda: rig.said('libvirt test:///default: connected') == 1, 10, 'libvirt is there')
    wait_until(lambda: vm.asks_for(2 * GIB).get('requested_size') == 2 * GIB, 10, 'it counts as nothing')


@pytest.mark.parametrize('text', ('', '{', '[]', '{"version":2,"promised":{}}', '{"version":1,"promised":{"silent":-1}}',
                                  '{"version":1,"promised":{"silent":1.5}}', '{"version":1,"promised":{"silent":"1"}}',
                                  '{"version":1,"promised":{"a":1,"a":2}}', 'x' * (1 << 20)),
                         ids=('empty', 'half', 'list', 'version', 'negative', 'real', 'text', 'twice', 'long'))
@fault('the file of promises is damaged', 'the daemon ignores the whole file, warns, and writes it again')
def test_a_damaged_record_is_ignored(rig, beside, text):
    vm, _ = beside
    (rig.folder / 'promised').write_text(text, encoding='ascii')
    rig.start(rig.vm_option('silent'), rig.vm_option('good'))
    vm.meet()
    assert rig.said('no memory counts as promised to VMs') == 1
    vm.guest.resize(1, 3 * GIB)
    assert vm.guest.answer(1)['op'] == 'granted'
    wait_until(lambda: record(rig).get('good'), 10, 'it is written again')


@pytest.fixture(name='mapped')
def one_memfd_mapped_48_times(rig):
    """In this process, which is the first VM's QEMU: 3 GiB of resident memory that are 64 MiB. A function, for when."""
    bad, good = Vm(rig, 'bad'), Vm(rig, 'good')
    own = rig.folder / f'proc/{os.getpid()}'
    shutil.rmtree(own)
    own.symlink_to(f'/proc/{os.getpid()}')
    with ExitStack() as stack:
        def map_it():
            fd = os.memfd_create('many')
            stack.callback(os.close, fd)
            os.truncate(fd, 64 * MIB)
            for _ in range(48):
                stack.enter_context(mmap.mmap(fd, 64 * MIB, mmap.MAP_SHARED | mmap.MAP_POPULATE))
            return int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1]) * mmap.PAGESIZE
        yield bad, good, map_it


@malice('a QMP peer maps one memfd of 64 MiB 48 times', 'this does not count as touched memory: the promise to its VM stays')
def test_memory_mapped_many_times_is_not_believed(rig, mapped):
    bad, good, map_it = mapped
    rig.write_config('HostReserve=1G')
    rig.start(*(rig.vm_option(name, max='4G') for name in ('bad', 'good')))
    good.meet()
    bad.meet()
    bad.guest.resize(1, 2 * GIB)
    assert bad.guest.answer(1)['requested_size'] == 2 * GIB
    # The reserve, 3 GiB of one VM and 1 GiB of the other, less half a GiB for what this process has really touched.
    rig.set_available(4 * GIB + 512 * MIB)
    assert map_it() > 3 * GIB
    good.guest.resize(1, GIB)
    answer = good.guest.answer(1)
    assert answer['op'] == 'refused' and answer['code'] == 'host-memory', answer
    assert good.qemu.sets() == []


@malice('one process listens on the QMP sockets of two VMs', 'its memory counts for one VM only')
def test_a_process_of_two_vms_counts_once(rig):
    vms = [Vm(rig, 'one'), Vm(rig, 'two', apart=False), Vm(rig, 'good')]
    rig.set_rss(GIB)
    rig.write_config('HostReserve=1G')
    rig.start(*(rig.vm_option(vm.name, max='4G') for vm in vms))
    for vm in vms:
        vm.meet()
    # Each has boot memory of 1 GiB: one process has 1 GiB of two, the third VM's has all of its.
    rig.set_available(2 * GIB + 512 * MIB)
    vms[2].guest.resize(1, GIB)
    assert vms[2].guest.answer(1)['requested_size'] == 512 * MIB
