# SPDX-License-Identifier: MIT
"""org.vmtide.Host1: what the host's daemon shows of its VMs, and what administrators may do to them."""

import os
import pwd
import signal
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.matrix import fault, malice

from .conftest import BUS_CONFIG, REPO
from .dbus_client import Client, DBusError, NAME_OWNER
from .host_peers import HostRig
from .peers import GIB, MIB, wait_until
from .test_actuator_access import members
from .test_bus_extremes import check_long_strings_are_not_repeated

NAME, ROOT = 'org.vmtide.Host1', '/org/vmtide/Host1'
VM = f'{NAME}.VM'
HOST_AT = (NAME, ROOT, NAME)
KEEP = (1 << 64) - 1
STRANGER = pwd.getpwnam('daemon').pw_uid


class BusRig(HostRig):
    """With a bus, and the daemon on it."""

    def __init__(self):
        super().__init__()
        self.folder.chmod(0o755)
        (self.folder / 'bus.conf').write_text(BUS_CONFIG.format(folder=self.folder), encoding='ascii')
        self.clients = []
        self.bus = None
        self.start_bus()

    def start_bus(self):
        with open(self.folder / 'bus.log', 'ab') as log:
            self.bus = subprocess.Popen(['/usr/bin/dbus-daemon', f'--config-file={self.folder}/bus.conf', '--nofork',
                                         '--nopidfile', '--nosyslog'], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until((self.folder / 'bus').exists, 10, 'the bus is there')

    def end_bus(self):
        self.bus.kill()
        self.bus.wait(5)
        (self.folder / 'bus').unlink()

    def start(self, *options):
        super().start(f'--bus=unix:path={self.folder}/bus', f'--limits-state={self.folder}/limits', *options)

    def client(self, uid=0):
        client = Client(self.folder / 'bus', uid=uid)
        self.clients.append(client)
        wait_until(lambda: client.call('NameHasOwner', 's', NAME, at=NAME_OWNER)[0], 10, 'the daemon has its name')
        client.call('AddMatch', 's', f"type='signal',path_namespace='{ROOT}'", at=NAME_OWNER)
        return client

    def up(self, **limits):
        """One VM, met; and a client."""
        qemu, guest = self.simple(**limits)
        return qemu, guest, self.client()

    def close(self):
        for client in self.clients:
            client.close()
        super().close()
        if self.bus.poll() is None:
            self.bus.kill()
            self.bus.wait(5)


@pytest.fixture
def stage():
    rig = BusRig()
    try:
        yield rig
        assert rig.process.poll() is None, f'it ended by itself: {rig.log()[-3000:]}'
        assert rig.stop() == 0
    finally:
        rig.close()


def at(name='guest', interface=VM):
    return NAME, f'{ROOT}/vm/{name}', interface


def get(client, what, name='guest'):
    return client.call('Get', 'ss', VM, what, at=at(name, 'org.freedesktop.DBus.Properties'))[0]


def get_all(client, name='guest'):
    return client.call('GetAll', 's', VM, at=at(name, 'org.freedesktop.DBus.Properties'))[0]


def managed(client):
    return client.call('GetManagedObjects', at=(NAME, ROOT, 'org.freedesktop.DBus.ObjectManager'))[0]


def refused(client, member, signature, *arguments, name='guest'):
    with pytest.raises(DBusError) as caught:
        client.call(member, signature, *arguments, at=at(name))
    return caught.value


def wait_state(client, state, timeout=10, name='guest'):
    wait_until(lambda: get(client, 'State', name) == state, timeout, f'{name} is {state}, not {get(client, "State", name)}')


@pytest.mark.parametrize('path, interface', ((ROOT, NAME), (f'{ROOT}/vm/guest', VM)))
def test_interface_is_the_one_in_the_file(stage, path, interface):
    _, _, client = stage.up()
    text = client.call('Introspect', at=(NAME, path, 'org.freedesktop.DBus.Introspectable'))[0]
    shown = list(members(ElementTree.fromstring(text), interface))
    written = list(members(ElementTree.parse(REPO / f'dbus/{interface}.xml').getroot(), interface))
    assert sorted(shown) == sorted(written) and len(written) >= 9
    assert all(name for m in written for name, _, _ in m[4])


def test_a_vm_shows_what_it_is_and_tells_what_changes(stage):
    qemu, guest, client = stage.up(min=0, max='4G')
    values = get_all(client)
    assert (values['Name'], values['State'], values['Size'], values['RequestedSize']) == ('guest', 'idle', 0, 0)
    assert (values['BootSize'], values['MinSize'], values['MaxSize'], values['Weight']) == (GIB, 0, 4 * GIB, 100)
    assert (values['Level'], values['Total'], values['Agent'], values['Process']) == ('', 0, 'test', os.getpid())
    assert values['LastGrant'] == (0, 0, '') and values['LastRefusal'] == (0, 0, '', '')
    qemu.follow = False
    before = time.time()
    guest.resize(1, GIB, 'burst')
    _, changed, _ = client.wait_signal('PropertiesChanged', 5, lambda i, c, _: i == VM and 'RequestedSize' in c)
    assert changed['RequestedSize'] == GIB and changed['State'] == 'plugging'
    when, size, reason = get(client, 'LastGrant')
    assert (size, reason) == (GIB, 'burst') and before - 1 < when / 1e6 < time.time() + 1
    qemu.size['vm0'] = GIB
    _, changed, _ = client.wait_signal('PropertiesChanged', 5, lambda i, c, _: 'Size' in c)
    assert changed['Size'] == GIB
    wait_state(client, 'idle')
    guest.say('stats', available=100 * MIB, total=2 * GIB, some10=123, level='rising')
    _, changed, _ = client.wait_signal('PropertiesChanged', 5, lambda i, c, _: 'Level' in c)
    assert changed == {'Level': 'rising', 'Total': 2 * GIB}
    assert get(client, 'Available') == 100 * MIB
    guest.resize(2, 8 * GIB)
    assert client.wait_signal('Refused')[:2] == (8 * GIB, 'limit')
    assert get(client, 'LastRefusal')[1:3] == (8 * GIB, 'limit')


def test_states_have_names(stage):
    qemu, guest, client = stage.up(max='4G')
    qemu.event('STOP')
    wait_state(client, 'paused')
    qemu.event('MIGRATION', status='active')
    wait_state(client, 'migrating')
    guest.resize(1, GIB)
    assert guest.answer(1)['code'] == 'busy'
    qemu.event('MIGRATION', status='cancelled')
    qemu.event('RESUME')
    wait_state(client, 'idle')
    # A sleep looks like a stop to a host that comes in its middle.
    qemu.event('STOP')
    wait_state(client, 'paused')
    qemu.event('WAKEUP')
    wait_state(client, 'idle')
    qemu.event('RESET')
    wait_state(client, 'resetting')
    guest.hello()
    wait_state(client, 'idle')
    guest.hang_up()
    wait_state(client, 'no-guest')
    assert get(client, 'Agent') == ''
    qemu.on['query-memory-devices'] = 'error'
    qemu.event('MEMORY_DEVICE_SIZE_CHANGE')
    wait_state(client, 'no-numbers')
    qemu.end()
    wait_state(client, 'no-qemu')
    assert get(client, 'Process') == 0


def test_host_and_object_manager(stage):
    for name in ('a', 'b-1', 'c.d_e'):
        stage.add(name)
    vm = ''.join(f'[VM {n}]\nChannel={stage.folder}/{n}.channel\nQMP={stage.folder}/{n}.qmp\nDevice=vm0\n' for n in ('a', 'b-1'))
    stage.write_config('HostReserve=2G', vm)
    stage.start()
    client = stage.client()
    values = client.call('GetAll', 's', NAME, at=(*HOST_AT[:2], 'org.freedesktop.DBus.Properties'))[0]
    assert (values['HostReserve'], values['OverCommit'], values['VMs'], values['Available']) == (2 * GIB, False, 2, 64 * GIB)
    assert values['Total'] == 128 * GIB
    objects = managed(client)
    assert {o[VM]['Name'] for o in objects.values() if VM in o} == {'a', 'b-1'}
    path = client.call('GetVM', 's', 'b-1', at=HOST_AT)[0]
    assert objects[path][VM]['Name'] == 'b-1'
    # One comes, one goes, one stays.
    stage.write_config('HostReserve=2G', vm.replace('[VM a]', '[VM c.d_e]').replace('/a.', '/c.d_e.'))
    stage.reload()
    new, interfaces = client.wait_signal('InterfacesAdded')
    assert interfaces[VM]['Name'] == 'c.d_e'
    assert {o[VM]['Name'] for o in managed(client).values() if VM in o} == {'c.d_e', 'b-1'}
    assert client.call('GetVM', 's', 'c.d_e', at=HOST_AT)[0] == new
    with pytest.raises(DBusError) as caught:
        client.call('GetVM', 's', 'a', at=HOST_AT)
    assert caught.value.full_name == 'org.vmtide.Error.NoSuchVM'
    client.signals.clear()
    stage.write_config('HostReserve=2G')
    stage.reload()
    gone = {client.wait_signal('InterfacesRemoved')[0] for _ in range(2)}
    assert gone == {new, path}
    # A VM whose sockets changed goes and comes, under its name.
    assert not [o for o in managed(client).values() if VM in o]


def test_limits_are_set_and_saved(stage):
    qemu, guest, client = stage.up(min='256M', max='2G')
    client.call('SetLimits', 'ttb', KEEP, GIB, False, at=at())
    assert (get(client, 'MinSize'), get(client, 'MaxSize')) == (256 * MIB, GIB)
    assert guest.wait('limits', max_size=GIB)['min_size'] == 256 * MIB
    guest.resize(1, 2 * GIB)
    assert guest.answer(1)['code'] == 'limit'
    assert not (stage.folder / 'limits').exists()
    client.call('SetLimits', 'ttb', 0, 0, True, at=at())
    assert (get(client, 'MinSize'), get(client, 'MaxSize')) == (0, 4 * GIB)
    client.call('SetWeight', 'ub', 300, True, at=at())
    assert get(client, 'Weight') == 300
    # Over a reload and a restart.
    stage.reload()
    wait_until(lambda: stage.said('configuration loaded again'), 5, 'the reload is done')
    assert (get(client, 'MaxSize'), get(client, 'Weight')) == (4 * GIB, 300)
    assert stage.stop() == 0
    stage.start(stage.vm_option('guest', min='256M', max='2G'))
    client = stage.client()
    wait_until(lambda: (get(client, 'MaxSize'), get(client, 'Weight')) == (4 * GIB, 300), 5,
               f'what was saved is in force: {get_all(client)} {stage.log()[-2000:]}')
    # The configuration's again, for good.
    client.call('SetLimits', 'ttb', KEEP, KEEP, True, at=at())
    client.call('SetWeight', 'ub', 0, True, at=at())
    assert (get(client, 'MinSize'), get(client, 'MaxSize'), get(client, 'Weight')) == (256 * MIB, 2 * GIB, 100)
    assert '[VM' not in (stage.folder / 'limits').read_text(encoding='ascii')


def test_what_cannot_be_is_refused_whole(stage):
    _, _, client = stage.up(min='256M', max='2G')
    error = refused(client, 'SetLimits', 'ttb', 2 * GIB, GIB, True)
    assert error.name == 'InvalidSize' and '2G' in error.text and '1G' in error.text
    error = refused(client, 'SetLimits', 'ttb', 5 * GIB, KEEP - 1, False)
    assert error.name == 'LimitExceeded' and '4G' in error.text
    assert refused(client, 'SetWeight', 'ub', 10001, False).name == 'InvalidArgs'
    assert refused(client, 'RequestShrink', 'ts', GIB, 'x').name == 'InvalidSize'
    assert refused(client, 'Pause', 'su', 'a\nb', 1).name == 'InvalidArgs'
    assert refused(client, 'Pause', 'su', 'x' * 128, 1).name == 'InvalidArgs'
    assert refused(client, 'SetLimits', 'tt', 1, 2).name == 'InvalidArgs'
    assert refused(client, 'Resume', '', name='nobody').name in ('UnknownObject', 'NoSuchVM')
    # A folder in the way: nothing is set that could not be saved.
    (stage.folder / 'limits').mkdir()
    assert refused(client, 'SetLimits', 'ttb', 0, GIB, True).name == 'IOError'
    assert (get(client, 'MinSize'), get(client, 'MaxSize'), get(client, 'Weight')) == (256 * MIB, 2 * GIB, 100)
    assert not (stage.folder / 'limits').is_file()


# A file system of 8 KiB, of which what is saved takes a half and something else the rest.
FULL = ('mount -t tmpfs -o size=8k,mode=755 full "$0" && printf "[VM guest]\\nWeight=50\\n" >"$0/limits" && '
        '! dd if=/dev/zero of="$0/other" bs=4k status=none 2>"$0.log" && exec "$@"')


@fault('the host\'s disk is full when limits are to stay',
       'SetLimits and SetWeight fail whole and say why; the limits in force and the saved ones are as before')
def test_the_disk_is_full(stage):
    _, guest = stage.add()
    state = stage.folder / 'state'
    state.mkdir()
    # Its own mounts, which end with it.
    stage.prefix = ('unshare', '--mount', '--propagation', 'private', 'sh', '-c', FULL, state)
    stage.start(stage.vm_option('guest', min='256M', max='2G'), f'--limits-state={state}/limits')
    guest.meet()
    root, client = stage.client(), stage.client()
    saved = Path(f'/proc/{stage.process.pid}/root{state}')
    before = (saved / 'limits').read_bytes()
    assert get(client, 'Weight') == 50 and not (state / 'limits').exists()
    for call in (('SetLimits', 'ttb', 0, GIB, True), ('SetWeight', 'ub', 300, True)):
        error = refused(root, *call)
        assert error.name == 'IOError' and 'No space left on device' in error.text, error
    assert (get(client, 'MinSize'), get(client, 'MaxSize'), get(client, 'Weight')) == (256 * MIB, 2 * GIB, 50)
    assert (saved / 'limits').read_bytes() == before and sorted(f.name for f in saved.iterdir()) == ['limits', 'other']
    assert guest.all('limits') == []
    # What needs no disk goes on, and all of it when there is room again.
    root.call('SetLimits', 'ttb', 0, GIB, False, at=at())
    guest.resize(1, GIB)
    assert guest.answer(1)['requested_size'] == GIB
    (saved / 'other').unlink()
    root.call('SetWeight', 'ub', 300, True, at=at())
    assert b'Weight=300' in (saved / 'limits').read_bytes() and get(client, 'Weight') == 300


@malice('an administrator of the host asks for memory back, lowers the maximum below it, and lets a VM have more than there is',
        'the guest keeps what it has if it will not give it; the reserve stays')
def test_an_administrator_takes_nothing_by_force(stage):
    stage.set_rss(GIB)
    qemu, guest = stage.simple('HostReserve=2G', max='4G')
    client = stage.client()
    guest.resize(1, GIB)
    assert guest.answer(1)['requested_size'] == GIB
    wait_until(lambda: get(client, 'Size') == GIB, 5, 'it is there')
    sets = qemu.sets()
    client.call('RequestShrink', 'ts', 0, 'now', at=at())
    guest.say('declined', id=guest.wait('shrink')['id'], code='in-use')
    wait_until(lambda: stage.said('declines to shrink') == 1, 5, 'it is heard')
    client.call('SetLimits', 'ttb', 0, 256 * MIB, False, at=at())
    guest.wait('limits', max_size=256 * MIB)
    assert (get(client, 'Size'), qemu.sets()) == (GIB, sets)
    # 1 GiB of the device is promised to it and not there yet; beside it and the reserve there is 1 GiB.
    client.call('SetLimits', 'ttb', 0, 4 * GIB, False, at=at())
    client.call('SetWeight', 'ub', 10000, False, at=at())
    stage.set_available(4 * GIB)
    guest.resize(2, 4 * GIB)
    assert guest.answer(2)['requested_size'] == 2 * GIB
    guest.resize(3, 4 * GIB)
    assert guest.answer(3)['code'] == 'host-memory'
    client.call('SetLimits', 'ttb', 0, 8 * GIB, False, at=at())
    assert get(client, 'MaxSize') == 4 * GIB  # of what there is no device for, nothing comes
    guest.resize(4, 4 * GIB)
    assert guest.answer(4)['code'] == 'host-memory'
    stage.set_available(64 * GIB)


def test_a_saved_file_of_somebody_elses_is_not_believed(stage):
    (stage.folder / 'limits').write_text('[VM guest]\nMinSize=5\nMaxSize=3\n[VM other]\nWeight=70000\n[x]\ny=1\n', encoding='ascii')
    _, _, client = stage.up(min='256M', max='2G')
    assert (get(client, 'MinSize'), get(client, 'MaxSize')) == (256 * MIB, 2 * GIB)
    assert stage.said('makes no sense') == 3


def test_a_min_size_that_is_raised_again_is_followed_at_once(stage):
    qemu, _, client = stage.up(max='4G')
    for size in (GIB, 2 * GIB, 3 * GIB):
        client.call('SetLimits', 'ttb', size, 0, False, at=at())
        wait_until(lambda size=size: qemu.requested['vm0'] == size, 5, 'not only when the last one is tried again')


def test_shrink_and_pause(stage):
    _, guest, client = stage.up(max='4G')
    guest.resize(1, 2 * GIB)
    assert guest.answer(1)['requested_size'] == 2 * GIB
    client.call('RequestShrink', 'ts', GIB, 'maintenance', at=at())
    assert guest.wait('shrink', size=GIB)['reason'] == 'maintenance'
    client.call('Pause', 'su', 'backup', 0, at=at())
    assert (get(client, 'PausedUntil'), get(client, 'PauseReason')) == (KEEP, 'backup')
    _, changed, _ = client.wait_signal('PropertiesChanged', 5, lambda i, c, _: 'PausedUntil' in c)
    assert changed['PauseReason'] == 'backup'
    guest.resize(2, GIB)
    answer = guest.answer(2)
    assert answer['code'] == 'busy' and 'backup' in answer['text']
    client.call('Resume', at=at())
    assert get(client, 'PausedUntil') == 0
    guest.resize(3, GIB)
    assert guest.answer(3)['requested_size'] == GIB
    # With an end of its own.
    client.call('Pause', 'su', '', 1, at=at())
    assert abs(get(client, 'PausedUntil') / 1e6 - time.time() - 1) < 1
    wait_until(lambda: get(client, 'PausedUntil') == 0, 5, 'the pause ends by itself')
    guest.hang_up()
    wait_state(client, 'no-guest')
    assert refused(client, 'RequestShrink', 'ts', 0, '').name == 'HostUnavailable'


def test_strangers_may_look_and_nothing_else(stage):
    _, _, client = stage.up(max='4G')
    stranger = stage.client(uid=STRANGER)
    assert get(stranger, 'State') == 'idle' and managed(stranger)
    for call in (('SetLimits', 'ttb', 0, GIB, False), ('SetWeight', 'ub', 1, False), ('RequestShrink', 'ts', 0, ''),
                 ('Pause', 'su', '', 0), ('Resume', '')):
        assert refused(stranger, *call).name == 'AccessDenied'
    assert (get(client, 'MaxSize'), get(client, 'Weight'), get(client, 'PausedUntil')) == (4 * GIB, 100, 0)


def test_it_serves_without_a_bus_and_comes_back_to_it(stage):
    _, guest, client = stage.up(max='4G')
    stage.end_bus()
    guest.resize(1, GIB)
    assert guest.answer(1)['requested_size'] == GIB
    stage.start_bus()
    client = stage.client()
    assert get(client, 'RequestedSize') == GIB
    guest.resize(2, 2 * GIB)
    client.wait_signal('PropertiesChanged', 5, lambda i, c, _: c.get('RequestedSize') == 2 * GIB)


@malice('a guest makes QEMU hold more than it was given', 'the host names it over-held, grants it no growth')
def test_a_vm_that_holds_too_much_gets_no_more(stage):
    _, guest, client = stage.up(max='4G')
    guest.resize(1, GIB)
    assert guest.answer(1)['requested_size'] == GIB
    stage.set_rss(3 * GIB)  # boot memory, size and slack are 2.5 GiB
    wait_state(client, 'over-held', 30)
    assert get(client, 'Held') == 3 * GIB and stage.said('QEMU holds 3G') == 1
    guest.resize(2, 2 * GIB)
    answer = guest.answer(2)
    assert answer['code'] == 'limit' and '3G' in answer['text']
    stage.set_rss(GIB)
    wait_state(client, 'idle', 15)
    guest.resize(3, 2 * GIB)
    assert guest.answer(3)['requested_size'] == 2 * GIB


def test_an_idle_vm_costs_nothing(stage):
    _, guest, _ = stage.up()
    guest.resize(1, GIB)
    guest.answer(1)
    guest.wait('size', size=GIB)
    time.sleep(0.5)
    before = stage.wakeups()
    time.sleep(3)
    assert stage.wakeups() - before <= 1


def test_signals_are_bounded(stage):
    qemu, guest, client = stage.up(max='4G')
    client.signals.clear()
    begin = time.monotonic()
    for i in range(200):
        guest.say('stats', available=1, total=GIB + i, some10=0, level='normal')
    wait_until(lambda: get(client, 'Total') == GIB + 199, 5, 'all was heard')
    client.pump(0.5)
    changes = [c for m, (i, c, _), _ in client.signals if m == 'PropertiesChanged' and i == VM]
    assert changes[-1]['Total'] == GIB + 199 and len(changes) <= 2 + 10 * (time.monotonic() - begin)


def test_a_stopped_bus_holds_up_nobody(stage):
    _, guest, _ = stage.up(max='4G')
    stage.bus.send_signal(signal.SIGSTOP)
    try:
        for i in range(10):
            guest.resize(i + 1, (i + 1) * 128 * MIB)
            assert guest.answer(i + 1, 2)['requested_size'] == (i + 1) * 128 * MIB
    finally:
        stage.bus.send_signal(signal.SIGCONT)


@malice('any local user calls the host daemon\'s standard interfaces with names of 4 MiB', 'the daemon refuses each call with a short error and keeps no memory')
def test_long_strings_at_the_host(stage):
    stage.add()
    stage.start(stage.vm_option('guest'))
    check_long_strings_are_not_repeated(stage.client(uid=STRANGER), stage.process, NAME, ROOT)
