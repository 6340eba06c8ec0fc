# SPDX-License-Identifier: MIT
"""Reclaim on a made-up cgroup hierarchy. A FIFO as memory.reclaim is a kernel that takes its time: whoever writes to
it waits until the test reads."""

import ctypes
import os
import select
import time

import pytest

from tests.matrix import malice

from .actuator_stage import get, refusal, refused, stage
from .conftest import ACTUATOR, NOBODY
from .dbus_client import DBusError
from .peers import MIB, wait_until

STAT = 'anon 104857600\nfile {file}\nactive_file 0\ninactive_file {file}\nslab_reclaimable 1048576\npgsteal_direct 7\n'
CLOSE_NOWRITE = 0x10


class Cgroup:
    def __init__(self, folder, fifo=False):
        self.folder = folder
        folder.mkdir()
        (folder / 'cgroup.controllers').write_text('cpu memory\n', encoding='ascii')
        self.fill(500 * MIB)
        if fifo:
            os.mkfifo(self.reclaim)
        else:
            self.reclaim.write_text('', encoding='ascii')
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.watch = self.libc.inotify_init1(os.O_CLOEXEC)
        assert self.libc.inotify_add_watch(self.watch, bytes(folder / 'memory.stat'), CLOSE_NOWRITE) >= 0

    @property
    def reclaim(self):
        return self.folder / 'memory.reclaim'

    def fill(self, size):
        (self.folder / 'memory.stat').write_text(STAT.format(file=size), encoding='ascii')

    def wait_looked(self):
        """The actuator has read memory.stat; before its first write it does so once."""
        assert select.select([self.watch], [], [], 10)[0], 'nobody read memory.stat'
        os.read(self.watch, 4096)

    def take(self, left):
        """Lets one write through; when it returns, left bytes of cache are there."""
        self.fill(left)
        with open(self.reclaim, encoding='ascii') as pipe:
            return pipe.read()

    def asked(self):
        return self.reclaim.read_text(encoding='ascii')

    def close(self):
        os.close(self.watch)


@pytest.fixture(name='slow')
def slow_cgroup(stage):
    cgroup = Cgroup(stage.folder / 'cgroup', fifo=True)
    yield cgroup
    cgroup.close()


@pytest.fixture(name='quick')
def quick_cgroup(stage):
    cgroup = Cgroup(stage.folder / 'cgroup')
    yield cgroup
    cgroup.close()


def reclaim(client, size):
    return client.send('Reclaim', 't', size, at=ACTUATOR)


@pytest.mark.parametrize('uid', (0, NOBODY), ids=('root', 'monitor'))
def test_answer_is_what_went(stage, slow, uid):
    client = stage.client(private=True, uid=uid)
    serial = reclaim(client, 10 * MIB)
    slow.wait_looked()
    assert not client.answered(serial)
    # The loop goes on meanwhile, and there is one at a time.
    assert get(client, 'State') == 'disconnected'
    busy = refused(client, 'Reclaim', 't', MIB)
    assert busy.full_name == 'org.vmtide.Error.Busy' and 'one at a time' in busy.text
    assert slow.take(left=491 * MIB) == '10485760\n'
    assert client.reply(serial) == (9 * MIB,)


def test_on_the_bus_as_well(stage, slow):
    client = stage.on_bus()
    serial = reclaim(client, 10 * MIB)
    slow.wait_looked()
    # More cache than before: nothing was won.
    slow.take(left=600 * MIB)
    assert client.reply(serial) == (0,)


@pytest.mark.parametrize('size, name', ((0, 'InvalidSize'), (256 * MIB + 1, 'LimitExceeded'), (2**64 - 1, 'LimitExceeded')))
def test_sizes(stage, quick, size, name):
    client = stage.client(private=True)
    error = refused(client, 'Reclaim', 't', size)
    assert error.full_name == f'org.vmtide.Error.{name}' and str(size) in error.text and '256M' in error.text
    assert quick.asked() == ''
    assert client.call('Reclaim', 't', 16 * MIB, at=ACTUATOR) == (0,)
    assert quick.asked() == '16777216\n'


def test_programs_text_stays(stage, quick):
    quick.fill(64 * MIB)
    client = stage.client(private=True)
    assert client.call('Reclaim', 't', MIB, at=ACTUATOR) == (0,)
    assert quick.asked() == ''
    quick.fill(65 * MIB)
    assert client.call('Reclaim', 't', 16 * MIB, at=ACTUATOR) == (0,)
    assert quick.asked() == '1048576\n'


@malice('a monitor that was taken over reclaims as fast as it can', '64 MiB a second are reclaimed, after 256 MiB at once')
def test_rate(stage, slow):
    # The kernel does at once what it is asked to, and all that it is asked is added up.
    pipe = os.open(slow.reclaim, os.O_RDWR | os.O_NONBLOCK)
    monitor = stage.client(private=True, uid=NOBODY)
    begun, text, errors, answers = time.monotonic(), b'', [], 0
    while time.monotonic() - begun < 4:
        serials = [reclaim(monitor, 16 * MIB) for _ in range(8)]
        for serial in serials:
            try:
                answers += len(monitor.reply(serial))
            except DBusError as error:
                errors.append(error)
        if select.select([pipe], [], [], 0)[0]:
            text += os.read(pipe, 1 << 16)
    took = time.monotonic() - begun
    os.close(pipe)
    asked = sum(int(line.split()[0]) for line in text.splitlines())
    assert answers > 16 and {error.name for error in errors} == {'Busy', 'RateLimited'}
    assert all('64M/s' in error.text and 'try again in' in error.text for error in errors if error.name == 'RateLimited')
    # It got most of what it may have, and no more.
    assert (256 + 32 * took) * MIB < asked <= (256 + 64 * took) * MIB, (asked, took)


def test_anonymous_memory_is_spared(stage, quick):
    meminfo = stage.folder / 'proc/meminfo'
    text = meminfo.read_text(encoding='ascii').replace('SwapTotal: 0 ', 'SwapTotal: 1000 ')
    meminfo.write_text(text.replace('SwapFree: 0 ', 'SwapFree: 900 '), encoding='ascii')
    assert stage.client(private=True).call('Reclaim', 't', MIB, at=ACTUATOR) == (0,)
    assert quick.asked() == '1048576 swappiness=0\n'


def test_without_cgroup_v2(stage):
    client = stage.client(private=True)
    error = refused(client, 'Reclaim', 't', MIB)
    assert error.full_name == 'org.freedesktop.DBus.Error.NotSupported' and 'cgroup v2' in error.text
    cgroup = Cgroup(stage.folder / 'cgroup')
    cgroup.close()
    cgroup.reclaim.unlink()
    error = refused(client, 'Reclaim', 't', MIB)
    assert error.full_name == 'org.freedesktop.DBus.Error.NotSupported' and 'memory.reclaim' in error.text


def test_files_that_cannot_be_used(stage, quick):
    client = stage.client(private=True)
    (quick.folder / 'memory.stat').write_text('file many\n', encoding='ascii')
    error = refused(client, 'Reclaim', 't', MIB)
    assert error.full_name == 'org.freedesktop.DBus.Error.Failed' and str(quick.folder) in error.text
    assert quick.asked() == ''
    quick.fill(100 * MIB)
    quick.reclaim.unlink()
    quick.reclaim.mkdir()
    assert refused(client, 'Reclaim', 't', MIB).name == 'Failed'
    quick.reclaim.rmdir()
    quick.reclaim.write_text('', encoding='ascii')
    assert client.call('Reclaim', 't', MIB, at=ACTUATOR) == (0,)
    # The same fault twice is one line.
    assert stage.says('reclaim: ') == 1


@pytest.mark.parametrize('private', (False, True), ids=('bus', 'private'))
def test_caller_may_leave(stage, slow, private):
    client = stage.client(private=True) if private else stage.on_bus()
    reclaim(client, MIB)
    slow.wait_looked()
    client.close()
    slow.take(left=499 * MIB)
    other = stage.client(private=True)
    slow.wait_looked()
    serial = start(other, slow)
    slow.take(left=497 * MIB)
    assert other.reply(serial) == (2 * MIB,)


def start(client, cgroup):
    """Begins one although the one before may be about to end."""
    serials = [reclaim(client, 2 * MIB)]

    def started():
        if client.answered(serials[-1]):
            assert refusal(client, serials[-1]).name == 'Busy'
            serials.append(reclaim(client, 2 * MIB))
        return select.select([cgroup.watch], [], [], 0)[0]

    wait_until(started, 10, 'a reclaim begins')
    cgroup.wait_looked()
    return serials[-1]


@malice('a monitor that was taken over reclaims until the kernel hangs', 'the loop goes on, one is at work at a time')
def test_a_kernel_that_hangs(stage, slow):
    client = stage.client(private=True, uid=NOBODY)
    serial = reclaim(client, MIB)
    slow.wait_looked()
    # Nobody lets the write through, and there is an answer.
    assert client.reply(serial) == (0,)
    assert refused(client, 'Reclaim', 't', MIB).name == 'Busy'
    assert stage.says('has not come back') == 1
    slow.take(left=400 * MIB)
    slow.wait_looked()
    serial = start(client, slow)
    slow.take(left=398 * MIB)
    assert client.reply(serial) == (2 * MIB,)


def test_exit_does_not_wait_for_ever(stage, slow):
    client = stage.client(private=True)
    serial = reclaim(client, MIB)
    slow.wait_looked()
    assert stage.stop('actuator') == 0
    assert client.reply(serial) == (0,)
