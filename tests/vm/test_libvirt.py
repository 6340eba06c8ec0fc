# SPDX-License-Identifier: MIT
"""vmtide-host and the real libvirtd, with domains that have no system in them: what is requested is libvirt's to say."""

import os
import pwd
import signal
import subprocess
import time
from xml.etree import ElementTree

import pytest

from tests.bus.dbus_client import DBusError
from tests.bus.peers import GIB, MIB, wait_until
from tests.bus.test_host_bus import BusRig, get, managed, VM, wait_state

USER = pwd.getpwnam('games').pw_uid
AS_USER = ('setpriv', f'--reuid={USER}', f'--regid={USER}', '--clear-groups')
DOMAIN = '''<domain type='qemu'>
  <name>{name}</name>
  <maxMemory slots='1' unit='MiB'>2048</maxMemory>
  <memory unit='MiB'>1088</memory>
  <currentMemory unit='MiB'>64</currentMemory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <channel type='unix'>
      <source mode='bind' path='{folder}/run/{name}.channel'/>
      <target type='virtio' name='org.vmtide.0'/>
    </channel>
    <memory model='virtio-mem'>
      <target>
        <size unit='MiB'>1024</size>
        <node>0</node>
        <block unit='MiB'>2</block>
        <requested unit='MiB'>0</requested>
      </target>
    </memory>
  </devices>
</domain>
'''


class LibvirtRig(BusRig):
    """A session daemon of a plain user's, so that nothing of the machine's is touched: as root it would be the system's."""

    def __init__(self):
        super().__init__()
        for name in ('run', 'config', 'config/libvirt', 'cache', 'home'):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, USER, USER)
        (self.folder / 'config/libvirt/qemu.conf').write_text('stdio_handler = "file"\n', encoding='ascii')
        self.environment = {**os.environ, 'HOME': f'{self.folder}/home', 'XDG_RUNTIME_DIR': f'{self.folder}/run',
                            'XDG_CONFIG_HOME': f'{self.folder}/config', 'XDG_CACHE_HOME': f'{self.folder}/cache'}
        self.uri = f'qemu+unix:///session?socket={self.folder}/run/libvirt/libvirt-sock'
        self.daemon = None
        self.servers = []
        self.start_libvirtd()

    def start_libvirtd(self):
        with open(self.folder / 'libvirtd.log', 'ab') as log:
            self.daemon = subprocess.Popen([*AS_USER, '/usr/sbin/libvirtd'], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)
        wait_until(lambda: self.virsh('list', check=False).returncode == 0, 30, 'libvirtd answers')

    def end_libvirtd(self):
        self.daemon.terminate()
        self.daemon.wait(20)

    def virsh(self, *words, check=True):
        result = subprocess.run([*AS_USER, 'virsh', '-q', '-c', self.uri, *words], env=self.environment, capture_output=True, text=True,
                                timeout=60, stdin=subprocess.DEVNULL)
        assert not check or result.returncode == 0, result
        return result

    def define(self, name):
        path = self.folder / f'{name}.xml'
        path.write_text(DOMAIN.format(name=name, folder=self.folder), encoding='ascii')
        self.virsh('define', str(path))

    def requested(self, name):
        root = ElementTree.fromstring(self.virsh('dumpxml', name).stdout)
        return int(root.find('./devices/memory/target/requested').text) * 1024

    def libvirt(self, vms='', **options):
        more = ''.join(f'{key}={value}\n' for key, value in options.items())
        self.write_config('HostReserve=64M\nQMPTimeout=2s', f'[Libvirt]\nURI={self.uri}\nPidFolder={self.folder}/run/libvirt/qemu/run\n{more}{vms}')

    def close(self):
        for name in self.virsh('list', '--name', check=False).stdout.split():
            self.virsh('destroy', name, check=False)
        if self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait(20)
        for server in self.servers:
            server.close()
        super().close()


@pytest.fixture
def rig():
    r = LibvirtRig()
    try:
        yield r
        assert r.process.poll() is None, f'it ended by itself: {r.log()[-3000:]}'
        assert r.stop() == 0
    finally:
        r.close()


def vms(client):
    return {o[VM]['Name'] for o in managed(client).values() if VM in o}


def group(name, domain, **options):
    more = ''.join(f'{key}={value}\n' for key, value in options.items())
    return f'[VM {name}]\nDomain={domain}\n{more}'


def test_a_domain_is_a_vm(rig):
    """Found by its name, sized through libvirt, and gone with the domain."""
    rig.define('a')
    rig.libvirt(group('guest', 'a', MinSize='256M', Weight=7))
    rig.start()
    client = rig.client()
    assert vms(client) == set()
    rig.virsh('start', 'a')
    wait_until(lambda: vms(client) == {'guest'}, 10, 'it is a VM')
    wait_until(lambda: rig.requested('a') == 256 * MIB, 10, 'it is raised to its min size')
    wait_until(lambda: get(client, 'RequestedSize') == 256 * MIB, 10, 'the daemon knows')
    assert (get(client, 'MaxSize'), get(client, 'BootSize'), get(client, 'Weight')) == (GIB, 64 * MIB, 7)
    assert 'guest=a' in open(f'/proc/{get(client, "Process")}/cmdline', encoding='utf-8').read()
    client.call('SetLimits', 'ttb', 512 * MIB, 0, False, at=('org.vmtide.Host1', '/org/vmtide/Host1/vm/guest', VM))
    wait_until(lambda: rig.requested('a') == 512 * MIB, 10, 'limits set at run time are followed')
    # Somebody else's hand is seen, and the min size holds against it.
    rig.virsh('update-memory-device', 'a', '--requested-size', '768MiB')
    wait_until(lambda: get(client, 'RequestedSize') == 768 * MIB, 15, 'it is seen')
    rig.virsh('suspend', 'a')
    wait_state(client, 'paused')
    rig.virsh('resume', 'a')
    wait_state(client, 'no-guest')
    rig.virsh('destroy', 'a')
    wait_until(lambda: vms(client) == set(), 10, 'it is gone')
    rig.virsh('start', 'a')
    wait_until(lambda: rig.requested('a') == 512 * MIB, 15, 'the new one is served as the one before')


def test_all_domains_come_and_go(rig):
    for name in ('a', 'b', 'c'):
        rig.define(name)
    rig.virsh('start', 'a')
    rig.libvirt(group('other', 'b', MinSize='128M') + group('partly', 'c', Device='nosuch'), AllDomains='yes')
    rig.start()
    client = rig.client()
    wait_until(lambda: vms(client) == {'a'}, 10, 'the one that runs is a VM')
    rig.virsh('start', 'b')
    wait_until(lambda: vms(client) == {'a', 'other'}, 10, 'another has come, under its own name')
    wait_until(lambda: rig.requested('b') == 128 * MIB, 10, 'with its own limits')
    assert rig.requested('a') == 0
    rig.virsh('start', 'c')
    wait_until(lambda: rig.said('no virtio-mem device with the alias nosuch') == 1, 10, 'what does not fit is said')
    assert vms(client) == {'a', 'other'}
    # A reload takes and gives, and holds up nobody.
    rig.libvirt(group('other', 'b', MinSize='192M'))
    rig.reload()
    wait_until(lambda: vms(client) == {'other'}, 10, 'only what is named')
    wait_until(lambda: rig.requested('b') == 192 * MIB, 10, 'with the new limits')


def test_a_libvirtd_that_hangs_or_ends_holds_up_nobody(rig):
    rig.define('a')
    rig.virsh('start', 'a')
    _, guest = rig.add('plain')
    rig.libvirt(group('guest', 'a', MinSize='128M'))
    rig.start(rig.vm_option('plain'))
    client = rig.client()
    guest.meet()
    wait_until(lambda: rig.requested('a') == 128 * MIB, 10, 'it is served')
    rig.daemon.send_signal(signal.SIGSTOP)
    try:
        client.call('SetLimits', 'ttb', 256 * MIB, 0, False, at=('org.vmtide.Host1', '/org/vmtide/Host1/vm/guest', VM))
        for i in range(10):
            guest.resize(i + 1, (i + 1) * 32 * MIB)
            assert guest.answer(i + 1, 2)['requested_size'] == (i + 1) * 32 * MIB
        wait_state(client, 'no-qemu')
    finally:
        rig.daemon.send_signal(signal.SIGCONT)
    wait_until(lambda: rig.requested('a') == 256 * MIB, 15, 'what was asked is done when it answers again')
    wait_until(lambda: get(client, 'RequestedSize') == 256 * MIB, 10, 'and is known')
    before = descriptors(rig)
    # A restart, which the domain survives; one that has ended meanwhile does not come back.
    rig.end_libvirtd()
    wait_state(client, 'no-qemu')
    rig.start_libvirtd()
    wait_until(lambda: get(client, 'RequestedSize') == 256 * MIB and get(client, 'State') == 'no-guest', 15, 'it is served again')
    rig.end_libvirtd()
    os.kill(get(client, 'Process') or pid_of(rig, 'a'), signal.SIGKILL)
    rig.start_libvirtd()
    wait_until(lambda: vms(client) == {'plain'}, 15, 'it is gone')
    # Nothing is left of three connections but one.
    assert descriptors(rig) <= before
    # The daemon ends at once although libvirtd hangs.
    rig.daemon.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    try:
        assert rig.stop() == 0 and time.monotonic() - begin < 3
    finally:
        rig.daemon.send_signal(signal.SIGCONT)
    rig.start(rig.vm_option('plain'))
    rig.client()


def descriptors(rig):
    return len(os.listdir(f'/proc/{rig.process.pid}/fd'))


def pid_of(rig, name):
    return int((rig.folder / f'run/libvirt/qemu/run/{name}.pid').read_text(encoding='ascii'))


def test_no_libvirtd_is_waited_for(rig):
    rig.end_libvirtd()
    rig.libvirt(group('guest', 'a'))
    rig.start()
    client = rig.client()
    wait_until(lambda: rig.said('connecting again') >= 1, 10, 'it is said')
    rig.start_libvirtd()
    rig.define('a')
    rig.virsh('start', 'a')
    wait_until(lambda: vms(client) == {'guest'}, 15, 'it is found')


def set_min(client, name, size):
    client.call('SetLimits', 'ttb', size, 0, False, at=('org.vmtide.Host1', f'/org/vmtide/Host1/vm/{name}', VM))


def test_a_qemu_that_hangs_holds_up_no_other(rig):
    """libvirt waits for it without end; the others' calls go beside."""
    for name in ('a', 'b'):
        rig.define(name)
        rig.virsh('start', name)
    rig.libvirt(AllDomains='yes')
    rig.start()
    client = rig.client()
    wait_until(lambda: vms(client) == {'a', 'b'} and get(client, 'MaxSize', 'b') == GIB, 15, 'both are served')
    qemu = pid_of(rig, 'a')
    os.kill(qemu, signal.SIGSTOP)
    try:
        set_min(client, 'a', 128 * MIB)
        wait_state(client, 'no-qemu', 15, 'a')
        for i in range(1, 4):
            set_min(client, 'b', i * 64 * MIB)
            wait_until(lambda size=i * 64 * MIB: get(client, 'RequestedSize', 'b') == size, 10, 'the other one is served')
    finally:
        os.kill(qemu, signal.SIGCONT)
    wait_until(lambda: get(client, 'RequestedSize', 'a') == 128 * MIB, 20, 'and this one again, when it answers')


def process_of(client):
    """None: the VM is not there just now."""
    try:
        return get(client, 'Process')
    except DBusError:
        return None


def test_a_domain_that_begins_anew_is_another(rig):
    """Its end and its new begin are heard in one turn: nothing of the old one is believed."""
    rig.define('a')
    rig.virsh('start', 'a')
    rig.libvirt(group('guest', 'a', MinSize='64M'))
    rig.start()
    client = rig.client()
    wait_until(lambda: process_of(client) == pid_of(rig, 'a'), 15, 'it is served')
    rig.process.send_signal(signal.SIGSTOP)
    try:
        rig.virsh('destroy', 'a')
        rig.virsh('start', 'a')
        time.sleep(1)  # The events' thread sleeps too: what libvirt tells waits in its socket.
    finally:
        rig.process.send_signal(signal.SIGCONT)
    wait_until(lambda: process_of(client) == pid_of(rig, 'a'), 10, 'it is the new process')
    wait_until(lambda: rig.requested('a') == 64 * MIB, 15, 'which is served too')


def test_what_a_named_domain_lacks_is_said(rig):
    """And a device that is plugged in later is seen."""
    rig.define('a')
    rig.define('b')
    for name, wanted in (('a', 'memory'), ('b', 'channel')):
        root = ElementTree.fromstring(rig.virsh('dumpxml', name).stdout)
        devices = root.find('devices')
        taken = next(d for d in devices.findall(wanted))
        devices.remove(taken)
        if wanted == 'memory':
            root.find('memory').text = str(64 << 10)
        path = rig.folder / f'{name}-less.xml'
        path.write_text(ElementTree.tostring(root, 'unicode'), encoding='ascii')
        (rig.folder / f'{name}-part.xml').write_text(ElementTree.tostring(taken, 'unicode'), encoding='ascii')
        rig.virsh('define', str(path))
        rig.virsh('start', name)
    rig.libvirt(group('less', 'a', MinSize='64M') + group('mute', 'b'), AllDomains='yes')
    rig.start()
    client = rig.client()
    wait_until(lambda: rig.said('less: domain a runs, but has no virtio-mem device') == 1, 15, 'it has no device')
    wait_until(lambda: rig.said('mute: domain b runs, but has no channel org.vmtide.0') == 1, 15, 'it has no channel')
    assert vms(client) == set()
    rig.virsh('attach-device', 'a', str(rig.folder / 'a-part.xml'), '--live')
    wait_until(lambda: vms(client) == {'less'}, 10, 'with its device it is a VM')
    wait_until(lambda: rig.requested('a') == 64 * MIB, 15, 'and is served')
