# SPDX-License-Identifier: MIT
"""Faults of the virtual machine itself, of its device and of the host that it runs on."""

import contextlib
import json
import os
import re
import socket
import time
from pathlib import Path

import pytest

from tests.matrix import fault
from tests.vm.rig import GIB, MIB, wait_until
from tests.vm.test_job import offline_blocks

from .by_hand import Grow, host_state, refused_now
from .relay import FROM_HOST, TO_HOST

SET, ROOM, WELCOME = b'"qom-set"', b'"room"', b'"welcome"'
BUSY, REFUSED = 'org.vmtide.Error.Busy', 'org.vmtide.Error.HostRefused'


def after_boot(stage, seen):
    """Waits for the guest's daemons after a boot; returns the requested size that the first welcome in the channel's
    lines after SEEN told them."""
    stage.guest.wait_booted()
    stage.wait_connected(120)
    return next(json.loads(line) for _, line in stage.channel.lines[seen:] if WELCOME in line)['requested_size']


def back_again(stage):
    """Of what was plugged again nothing waits offline, and it can be given back."""
    stage.agree()
    assert offline_blocks(stage.guest) == 0
    stage.pause()
    stage.set_size(0)
    stage.resume()
    stage.goes_on()


SUSPEND = 'echo mem >/sys/power/state || { dmesg | grep virtio_mem; exit 1; }'


def suspend(stage):
    return stage.guest.start_command(f'dmesg -C; {SUSPEND}')


def suspend_above(stage, total):
    """As soon as MemTotal is more than TOTAL; says what it is then, in KiB."""
    look = f'until read -r _ kb _ </proc/meminfo; [ $kb -gt {total // 1024} ]; do :; done'
    work = stage.guest.start_command(f'dmesg -C; echo watching; {look}; echo at $kb; {SUSPEND}')
    work.wait_output('watching')
    return work


# The first of the file: the size has never been more than 0, and nothing clings.
@fault('the guest is suspended at size 0 and woken 5 s later',
       'kernel 6.1 refuses (virtio_mem: not supported), 6.12 sleeps and wakes; all agree and the job goes on')
def test_suspended_at_size_0(stage, kernel):
    grow = Grow(stage)
    assert grow.size == 0
    since = time.monotonic()
    sleep = suspend(stage)
    if kernel == '6.1':
        result = sleep.wait(60)
        assert result.status == 1 and 'not supported' in result.stdout, result
    else:
        stage.guest.wait_event('SUSPEND', 30, since)
        until = time.monotonic() + 5
        wait_until(lambda: time.monotonic() >= until, 10, '5 s are over')
        assert sleep.poll() is None and stage.guest.qmp('query-status')['status'] == 'suspended'
        stage.guest.qmp('system_wakeup')
        result = sleep.wait(60)
        assert result.status == 0, result
    stage.wait_connected()
    grow.start()
    grow.done()
    grow.end()


@fault('the guest is to be suspended in the middle of a grow',
       'its kernel refuses (virtio_mem: not supported); the grow ends, all agree and the job goes on')
def test_suspended_in_a_grow(stage):
    grow = Grow(stage)
    total = stage.guest.meminfo()['MemTotal']
    sleep = suspend_above(stage, total)
    grow.start()
    result = sleep.wait(60)
    assert result.status == 1 and 'virtio_mem' in result.stdout and 'not supported' in result.stdout, result
    begun = int(re.search(r'at (\d+)', result.stdout)[1]) * 1024
    assert total < begun < total + grow.bytes
    grow.done()
    stage.wait_connected()
    grow.end()


@fault('QEMU is paused in the middle of a grow and continued 10 s later')
def test_paused(stage):
    grow = Grow(stage)
    guest = stage.guest
    with grow.half() as size:
        host_state(stage, 'paused')
        wait = time.monotonic() + 10
        wait_until(lambda: time.monotonic() >= wait, 20, '10 s are over')
        assert guest.size() == size and stage.host('Size', 'RequestedSize') == [size, grow.target]
    grow.done()
    grow.end()


@fault('the guest is reset hard in the middle of a grow', 'what was granted is plugged again; all agree and the job goes on')
def test_reset(stage):
    grow = Grow(stage)
    with grow.half():
        seen = len(stage.channel.lines)
        stage.guest.reset()
    assert after_boot(stage, seen) == grow.target
    back_again(stage)


@fault('the guest is rebooted while it is large', 'all of it is plugged again and online; all agree and the job goes on')
def test_rebooted_while_large(stage):
    grow = Grow(stage, 3 * GIB)
    grow.start()
    grow.done()
    large = stage.agree(settled=True)
    assert large == grow.target
    seen = len(stage.channel.lines)
    stage.guest.reboot()
    assert after_boot(stage, seen) == large
    back_again(stage)


@fault('the host is out of memory at a grant', 'refused HostRefused (host memory); when there is room the guest hears of it '
       'and the job goes on', sample=True)
def test_host_out_of_memory(stage):
    grow = Grow(stage)
    procfs = stage.guest.folder / 'procfs'
    procfs.mkdir()
    # What listens at the socket is taken for QEMU: that is the relay.
    (procfs / str(os.getpid())).symlink_to(f'/proc/{os.getpid()}')
    set_available(procfs, 300 * MIB)
    stage.kill_host()
    stage.start_host(f'--procfs={procfs}')
    try:
        stage.wait_connected()
        grow.start()
        grow.refused(REFUSED, 'more asked, the host has')
        assert stage.agree(settled=True) == grow.size
        seen = len(stage.channel.lines)
        set_available(procfs, 64 * GIB)
        wait_until(lambda: any(ROOM in line for way, line in stage.channel.lines[seen:] if way == FROM_HOST), 20,
                   'the guest hears that there is room')
        grow.start()
        grow.done()
        grow.end()
    finally:
        stage.kill_host()
        stage.start_host()
    stage.wait_connected()
    stage.agree()


def set_available(procfs, bytes_):
    """What the host's daemon reads of its host."""
    text = Path('/proc/meminfo').read_text(encoding='ascii')
    for name, value in (('MemTotal', 64 * GIB), ('MemAvailable', bytes_)):
        text = re.sub(rf'^{name}:.*$', f'{name}: {value // 1024} kB', text, flags=re.M)
    (procfs / 'new').write_text(text, encoding='ascii')
    os.replace(procfs / 'new', procfs / 'meminfo')


@pytest.mark.parametrize('wrong', ('half a block', 'more than it has'))
@fault('the device refuses a requested size ({wrong})',
       'refused HostRefused (QEMU did not take the requested size); then all agree and the job goes on')
def test_device_refuses(stage, wrong):
    grow = Grow(stage)

    def spoil(direction, line):
        """QEMU itself says no."""
        if direction == TO_HOST or SET not in line:
            return (line,)
        command = json.loads(line)
        command['arguments']['value'] += MIB if wrong == 'half a block' else 64 * GIB
        return (json.dumps(command).encode() + b'\n',)

    stage.qmp.edit = spoil
    try:
        grow.start()
        grow.refused(REFUSED, 'QEMU did not take the requested size')
        assert stage.agree(settled=True) == grow.size
    finally:
        stage.qmp.edit = None
    assert 'qom-set failed: GenericError' in stage.guest.host.text()
    grow.start()
    grow.done()
    grow.end()


class Migration:
    """To somebody who takes the connection and nothing of what comes through it."""

    def __init__(self, stage):
        self.guest = stage.guest
        self.path = self.guest.folder / 'receiver'
        self.path.unlink(missing_ok=True)
        self.receiver = socket.socket(socket.AF_UNIX)
        self.receiver.bind(str(self.path))
        self.receiver.listen(1)

    def start(self):
        self.guest.qmp('migrate', uri=f'unix:{self.path}')

    def __enter__(self):
        self.start()
        return self

    def cancel(self):
        self.guest.qmp('migrate_cancel')
        wait_until(lambda: self.guest.qmp('query-migrate').get('status') == 'cancelled', 20, 'the migration is cancelled')

    def __exit__(self, *_):
        try:
            self.cancel()
        finally:
            self.receiver.close()


@fault('memory is asked for while the VM migrates', 'refused Busy; after the migration is given up all agree and the job goes on')
def test_asked_while_migrating(stage):
    grow = Grow(stage)
    with Migration(stage):
        host_state(stage, 'migrating')
        grow.start()
        grow.refused(BUSY, 'migrating')
        assert stage.guest.requested_size() == grow.size
    wait_until(lambda: stage.host('State') != ['migrating'], 20, 'the host sees the end of it')
    grow.start()
    grow.done()
    grow.end()


@fault('a migration begins in the middle of a grow and is given up',
       'the device plugs nothing meanwhile, and is helped on after it; all agree and the job goes on')
def test_migration_in_a_grow(stage):
    grow = Grow(stage)
    with contextlib.ExitStack() as migration:
        with grow.half() as size:
            migration.enter_context(Migration(stage))
        host_state(stage, 'migrating')
        caught = stage.guest.size()
        assert size <= caught < grow.target
        refused_now(stage, BUSY, 'migrating')
        assert stage.guest.size() == caught
    grow.done()
    grow.end()


@fault('the host\'s daemon is frozen for 30 s in the middle of a grow',
       'the grow ends; requests are refused HostUnavailable until it goes on; all agree and the job goes on')
def test_host_frozen(stage):
    grow = Grow(stage)
    with grow.half(granted=True):
        stage.freeze('host')
    try:
        begun = time.monotonic()
        grow.done()
        refused_now(stage, 'org.vmtide.Error.HostUnavailable', 'did not answer')
        wait_until(lambda: time.monotonic() - begun > 30, 40, '30 s are over')
        assert stage.guest.size() == grow.target
    finally:
        stage.signal('host', 'CONT')
    # The host has read the request that it could not answer in time, and grants it.
    stage.guest.wait_size(grow.target + GIB, 60)
    grow.end(grow.target + GIB)
