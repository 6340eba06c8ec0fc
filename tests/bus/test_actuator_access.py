# SPDX-License-Identifier: MIT
"""What the actuator looks like on the bus, and who may call it."""

import os
import resource
import socket
import time
from xml.etree import ElementTree

import pytest

from tests.matrix import malice

from .actuator_stage import get, get_all, NAMES, plug, refused, stage, STRANGER
from .conftest import ACTUATOR, BUILD, NOBODY, REPO
from .dbus_client import Client, DBusError, NAME_OWNER
from .peers import GIB, MIB, cpu_seconds, wait_until


# What it looks like


def members(root, name=ACTUATOR[2]):
    """Everything of the interface that a client can see, in a form that compares."""
    interface = root.find(f".//interface[@name='{name}']")
    for member in interface:
        if isinstance(member.tag, str):
            default = None if member.tag == 'signal' else 'in'
            arguments = tuple((a.get('name'), a.get('type'), a.get('direction', default)) for a in member.findall('arg'))
            annotations = tuple(sorted((a.get('name'), a.get('value')) for a in member.findall('annotation')))
            yield member.tag, member.get('name'), member.get('type'), member.get('access'), arguments, annotations


@pytest.mark.parametrize('private', (False, True), ids=('bus', 'private'))
def test_interface_is_the_one_in_the_file(stage, private):
    client = stage.client(private=True) if private else stage.on_bus()
    text = client.call('Introspect', at=(*ACTUATOR[:2], 'org.freedesktop.DBus.Introspectable'))[0]
    shown = list(members(ElementTree.fromstring(text)))
    written = list(members(ElementTree.parse(REPO / 'dbus/org.vmtide.Actuator1.xml').getroot()))
    assert sorted(shown) == sorted(written)
    assert tuple(m[1] for m in written if m[0] == 'property') == NAMES
    assert all(name for m in written for name, _, _ in m[4])


def test_properties_before_and_with_a_host(stage):
    client = stage.client(private=True)
    values = get_all(client)
    assert set(values) == set(NAMES)
    assert (values['State'], values['HostConnected'], values['Size'], values['HostMaxSize']) == ('disconnected', False, 0, 0)
    assert (values['BootSize'], values['MemoryBlockSize'], values['LastError']) == (GIB, 128 * MIB, '')
    stage.host.connect()
    wait_until(lambda: get(client, 'HostConnected'), 5, 'the actuator meets the host')
    values = get_all(client)
    assert {name: values[name] for name in NAMES[:12] if not name.startswith(('Boot', 'Memory'))} == {
        'Size': GIB, 'RequestedSize': GIB, 'MinSize': 256 * MIB, 'MaxSize': 4 * GIB, 'HostMinSize': 256 * MIB,
        'HostMaxSize': 4 * GIB, 'BlockSize': 2 * MIB, 'GuardHeadroom': 0, 'GuardHeld': False, 'ReservedBytes': 0}
    assert (values['State'], values['LastError']) == ('idle', '')


def test_hello_says_what_the_guest_is(stage):
    hello = stage.host.connect()
    assert hello == {'op': 'hello', 'v': 1, 'agent': f'vmtide-actuator {get(stage.client(private=True), "Version")}',
                     'boot_id': '11111111-2222-3333-4444-555555555555', 'boot_size': GIB,
                     'memory_block_size': 128 * MIB}


# Who may


METHODS = (('Plug', 'ts', 2 * MIB, 'test'), ('Unplug', 'ts', 2 * MIB, 'test'),
           ('OpenPressureTrigger', 'stt', 'some', 5000, 2000000), ('Report', 'ttus', 1, 2, 3, 'normal'),
           ('DeclineShrink', 'ts', 1, 'busy'), ('Reclaim', 't', MIB), ('ArmGuard', 't', 0))


@malice('any local user calls what it has no right to', 'it is denied, the host hears nothing of it')
@pytest.mark.parametrize('method', METHODS, ids=lambda m: m[0])
def test_strangers_are_denied(stage, method):
    stage.up()
    stage.on_bus()
    stranger = stage.client(uid=STRANGER)
    error = refused(stranger, *method)
    assert error.full_name == 'org.freedesktop.DBus.Error.AccessDenied'
    assert error.text.startswith(f'{method[0]} needs org.vmtide.') and 'root may' in error.text
    assert get(stranger, 'Size') == GIB
    # The host has heard nothing of it: the next thing it hears is root's.
    serial = plug(stage.client(private=True), 2 * MIB, 'root')
    assert stage.host.grant()['reason'] == 'root'
    assert stage.clients[-1].reply(serial) == (GIB + 2 * MIB,)


@pytest.mark.parametrize('uid', (0, NOBODY), ids=('root', 'monitor'))
@pytest.mark.parametrize('private', (False, True), ids=('bus', 'private'))
def test_root_and_the_monitor_may(stage, uid, private):
    (stage.folder / 'proc/pressure').mkdir()
    (stage.folder / 'proc/pressure/memory').write_text('', encoding='ascii')
    stage.up()
    stage.on_bus()
    client = stage.client(uid=uid, private=private)
    serial = plug(client, 2 * MIB)
    stage.host.grant()
    assert client.reply(serial) == (GIB + 2 * MIB,)
    serial = client.send('Unplug', 'ts', 2 * MIB, 'test', at=ACTUATOR)
    stage.host.grant()
    assert client.reply(serial) == (GIB,)
    assert client.call('Report', 'ttus', 1, 2, 3, 'normal', at=ACTUATOR) == ()
    client.call('OpenPressureTrigger', 'stt', 'some', 5000, 2000000, at=ACTUATOR)
    assert refused(client, 'Reclaim', 't', MIB).name == 'NotSupported'  # allowed, but there is no cgroup v2
    stage.host.say('shrink', id=1, size=0, reason='test')
    client.pump(0.1)
    assert client.call('DeclineShrink', 'ts', 1, 'busy', at=ACTUATOR) == ()


def test_private_socket_is_closed_to_strangers(stage):
    with pytest.raises(PermissionError):
        stage.client(uid=STRANGER, private=True)
    # Nor does the mode decide alone.
    os.chmod(stage.folder / 'actuator.sock', 0o666)
    with pytest.raises(OSError):
        stage.client(uid=STRANGER, private=True)
    assert stage.says('neither root nor') == 1


def test_one_monitor_is_served(stage):
    monitor = stage.client(private=True, uid=NOBODY)
    with pytest.raises(OSError):
        stage.client(private=True, uid=NOBODY)
    assert stage.says('a second monitor is not served') == 1
    assert get(monitor, 'State') == 'disconnected'
    monitor.close()

    def another():
        try:
            return get(stage.client(private=True, uid=NOBODY), 'State') == 'disconnected'
        except OSError:
            return False
    wait_until(another, 5, 'the next one is')


def test_four_private_connections(stage):
    peers = [stage.client(private=True, uid=NOBODY if i == 0 else 0) for i in range(4)]
    with pytest.raises(OSError):
        stage.client(private=True)
    assert all(get(peer, 'State') == 'disconnected' for peer in peers)
    peers[2].close()

    def another():
        try:
            return get(stage.client(private=True), 'State') == 'disconnected'
        except OSError:
            return False
    wait_until(another, 5, 'the place of the one that left is free')


def policy_bus(folder):
    """A dbus-daemon with the system bus's defaults and the policy that is installed. Its user vmtide is nobody here."""
    policy = (REPO / 'dbus/org.vmtide.conf').read_text(encoding='ascii').replace('user="vmtide"', 'user="nobody"')
    (folder / 'policy.conf').write_text(policy, encoding='ascii')
    (folder / 'system.conf').write_text(
        f'<busconfig><type>system</type><listen>unix:path={folder}/policed</listen><auth>EXTERNAL</auth>'
        '<policy context="default"><allow user="*"/><deny own="*"/><deny send_type="method_call"/>'
        '<allow send_type="signal"/><allow send_requested_reply="true" send_type="method_return"/>'
        '<allow send_requested_reply="true" send_type="error"/><allow receive_type="method_call"/>'
        '<allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>'
        '<allow send_destination="org.freedesktop.DBus"/></policy>'
        f'<include>{folder}/policy.conf</include></busconfig>', encoding='ascii')


def test_installed_bus_policy(stage):
    policy_bus(stage.folder)
    stage.start('policed', '/usr/bin/dbus-daemon', f'--config-file={stage.folder}/system.conf', '--nofork', '--nopidfile',
                '--nosyslog')
    wait_until((stage.folder / 'policed').exists, 10, 'the bus is there')
    root, nobody, stranger = (Client(stage.folder / 'policed', uid=uid) for uid in (0, NOBODY, STRANGER))
    stage.clients += [root, nobody, stranger]

    def own(client, name):
        try:
            return client.call('RequestName', 'su', name, 4, at=NAME_OWNER)[0] == 1
        except DBusError as error:
            assert error.name == 'AccessDenied'
            return False
    assert not own(nobody, 'org.vmtide.Actuator1') and not own(stranger, 'org.vmtide.Actuator1')
    assert not own(stranger, 'org.vmtide.Monitor1')
    assert own(nobody, 'org.vmtide.Monitor1')
    # Root may own it too, so that a monitor that is started by hand ends when there is one.
    assert not own(root, 'org.vmtide.Monitor1')
    assert not own(stranger, 'org.freedesktop.LowMemoryMonitor')
    assert own(nobody, 'org.freedesktop.LowMemoryMonitor')
    stage.start('policed-actuator', BUILD / 'actuator/vmtide-actuator', f'--port={stage.folder}/none',
                f'--sysfs={stage.folder}/sys', f'--procfs={stage.folder}/proc', f'--cgroupfs={stage.folder}/cgroup',
                f'--bus=unix:path={stage.folder}/policed',
                f'--socket={stage.folder}/policed.sock', '--monitor-user=nobody')
    wait_until(lambda: root.call('NameHasOwner', 's', 'org.vmtide.Actuator1', at=NAME_OWNER)[0], 10, 'it has its name')
    # Everybody may ask; it is the actuator that says no.
    assert get(stranger, 'State') == 'disconnected'
    assert 'Plug' in refused(stranger, 'Plug', 'ts', 1, 'test').text
    assert refused(nobody, 'Plug', 'ts', 1, 'test').name == 'HostUnavailable'
    # But for the log level, which the bus daemon itself keeps from others than root.
    control = (ACTUATOR[0], '/org/freedesktop/LogControl1', 'org.freedesktop.DBus.Properties')
    level = ('org.freedesktop.LogControl1', 'LogLevel')
    for client in (nobody, stranger):
        assert client.call('Get', 'ss', *level, at=control) == ('info',)
        with pytest.raises(DBusError, match='AccessDenied: Rejected send message'):
            client.call('Set', 'ssv', *level, ('s', 'debug'), at=control)
    root.call('Set', 'ssv', *level, ('s', 'debug'), at=control)
    assert stranger.call('Get', 'ss', *level, at=control) == ('debug',)


def test_the_private_socket_without_descriptors(stage):
    """Whoever connects cannot be taken, and goes on waiting: the loop must not turn without end."""
    first = stage.up()
    pid = stage.processes['actuator'].pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, before[1]))
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(str(stage.folder / 'actuator.sock'))
        wait_until(lambda: stage.says('private socket: cannot take a connection: Too many open files') == 1, 5, 'it is said')
        begun = cpu_seconds(pid)
        time.sleep(2)
        assert cpu_seconds(pid) - begun < 0.2
        assert get(first, 'HostConnected')
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert get(stage.client(private=True), 'HostConnected')
    assert stage.says('private socket: cannot take a connection') == 1
