# SPDX-License-Identifier: MIT
"""A machine without a machine: private bus, scripted QEMU, the three real daemons, made-up /proc and /sys."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.matrix import register

from .peers import FakeQemu, GIB, listens, MIB, patience, Wire, wait_until

REPO = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get('VMTIDE_BUILD') or REPO / 'build').resolve()
ACTUATOR = ('org.vmtide.Actuator1', '/org/vmtide/Actuator1', 'org.vmtide.Actuator1')
MONITOR = ('org.vmtide.Monitor1', '/org/vmtide/Monitor1', 'org.vmtide.Monitor1')
BUS_CONFIG = '''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={folder}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/>
<allow send_type="signal"/><allow send_requested_reply="true" send_type="method_return"/>
<allow send_requested_reply="true" send_type="error"/><allow receive_type="method_call"/>
<allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
<allow send_destination="org.freedesktop.DBus"/></policy></busconfig>
'''
DAEMONS = ('monitor', 'actuator', 'host')
MEMINFO = '''MemTotal: {total} kB
MemFree: {free} kB
MemAvailable: {free} kB
Buffers: 0 kB
Cached: 1000 kB
Active(file): 500 kB
Inactive(file): 500 kB
SwapTotal: 0 kB
SwapFree: 0 kB
Shmem: 0 kB
SReclaimable: 0 kB
'''
NOBODY = pwd.getpwnam('nobody').pw_uid


def pytest_configure(config):
    register(config)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A skipped test is a failed one."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped:
        report.outcome = 'failed'
        report.longrepr = f'a test must not be skipped: {call.excinfo.value}'


class Machine:
    """All of it, in one short folder."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix='vmt-', dir='/tmp'))
        self.folder.chmod(0o755)
        self.processes = {}
        self.qemu = FakeQemu(self.folder / 'qmp')
        self.wire = Wire(self.folder / 'port', self.folder / 'channel')
        self._make_trees()
        (self.folder / 'bus.conf').write_text(BUS_CONFIG.format(folder=self.folder), encoding='ascii')
        self.address = f'unix:path={self.folder}/bus'
        self.start('bus', '/usr/bin/dbus-daemon', f'--config-file={self.folder}/bus.conf', '--nofork', '--nopidfile',
                   '--nosyslog')
        wait_until(lambda: listens(self.folder / 'bus'), 10, 'the bus is there')

    def _make_trees(self):
        for path, text in (
                ('sys/devices/system/memory/block_size_bytes', '8000000\n'),
                ('sys/devices/system/memory/auto_online_blocks', 'offline\n'),
                ('sys/devices/system/memory/memory40/state', 'offline\n'),
                ('sys/devices/system/memory/memory41/state', 'online\n'),
                ('sys/module/memory_hotplug/parameters/online_policy', 'contig-zones\n'),
                ('sys/bus/virtio/drivers/virtio_mem/virtio3/status', '0xf\n'),
                ('sys/firmware/memmap/0/start', '0x0\n'), ('sys/firmware/memmap/0/end', '0x3fffffff\n'),
                ('sys/firmware/memmap/0/type', 'System RAM\n'),
                ('proc/sys/kernel/random/boot_id', '11111111-2222-3333-4444-555555555555\n')):
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding='ascii')
        self.set_memory(960 * MIB, 800 * MIB)

    def set_memory(self, total, available):
        new = self.folder / 'proc/meminfo.new'
        new.write_text(MEMINFO.format(total=total // 1024, free=available // 1024), encoding='ascii')
        # Written in place: the monitor keeps its file open.
        (self.folder / 'proc/meminfo').write_text(new.read_text(encoding='ascii'), encoding='ascii')

    def start(self, name, *argv):
        log = open(self.folder / f'{name}.log', 'ab')
        self.processes[name] = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()

    def start_host(self, *more):
        self.start('host', BUILD / 'host/vmtide-host', '--vm',
                   f'guest,channel={self.folder}/channel,qmp={self.folder}/qmp,device=vm0,max=4G', '--host-reserve', '64M',
                   f'--promises-state={self.folder}/promised', *more)

    def start_actuator(self, *more):
        self.start('actuator', BUILD / 'actuator/vmtide-actuator', f'--port={self.folder}/port',
                   f'--sysfs={self.folder}/sys', f'--procfs={self.folder}/proc', f'--cgroupfs={self.folder}/cgroup',
                   f'--bus={self.address}', f'--socket={self.folder}/actuator.sock', f'--guard-state={self.folder}/guard',
                   f'--kernel-state={self.folder}/kernel',
                   f'--limits-state={self.folder}/state/limits', f'--reservations-state={self.folder}/reservations',
                   '--monitor-user=nobody', *more)

    def start_monitor(self, *more, under=()):
        self.start('monitor', 'setpriv', f'--reuid={NOBODY}', f'--regid={pwd.getpwnam("nobody").pw_gid}', '--clear-groups',
                   *under, BUILD_COPY / 'vmtide-monitor', f'--socket={self.folder}/actuator.sock', f'--bus={self.address}',
                   f'--procfs={self.folder}/proc', *more)

    def log(self, name):
        return (self.folder / f'{name}.log').read_text(encoding='utf-8', errors='replace')

    def kill(self, name):
        process = self.processes.pop(name)
        process.kill()
        process.wait(10)

    def stop(self, name):
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(patience(10))

    def busctl(self, *arguments, uid=0):
        prefix = ['setpriv', f'--reuid={uid}', f'--regid={uid}', '--clear-groups'] if uid else []
        return subprocess.run([*prefix, 'busctl', f'--address={self.address}', '--timeout=15', *map(str, arguments)],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30, check=False)

    def call(self, *arguments, uid=0, at=ACTUATOR):
        return self.busctl('call', *at, *arguments, uid=uid)

    def get(self, *names, at=ACTUATOR):
        result = self.busctl('get-property', *at, *names)
        return [line.split(' ', 1)[1] for line in result.stdout.splitlines()] if result.returncode == 0 else None

    def connected(self):
        return self.get('HostConnected') == ['true']

    def wait_connected(self):
        wait_until(self.connected, 15, 'the actuator meets the host')

    def end(self):
        """As systemd ends them, so that what a sanitizer, valgrind or gcov has to say is said. Returns who did not obey."""
        daemons = {name: process for name, process in self.processes.items() if name in DAEMONS and process.poll() is None}
        for process in daemons.values():
            process.terminate()
        bad = []
        for name, process in daemons.items():
            try:
                status = process.wait(patience(10))
            except subprocess.TimeoutExpired:
                status = 'it did not end'
            if status != 0:
                bad.append(f'{name} on SIGTERM: {status}: {self.log(name)[-3000:]}')
        return bad

    def close(self):
        bad = self.end()
        for name in list(self.processes):
            self.kill(name)
        self.wire.close()
        self.qemu.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not bad, '\n'.join(bad)


# The build folder may be closed to other users.
BUILD_COPY = Path(f'/tmp/vmt-build-{os.getpid()}')


@pytest.fixture(scope='session', autouse=True)
def copies():
    BUILD_COPY.mkdir(mode=0o755)
    for program in ('monitor/vmtide-monitor', 'host/vmtide-host', 'ctl/vmtidectl', 'tests/bus/memory-listener'):
        shutil.copy(BUILD / program, BUILD_COPY)
    yield
    shutil.rmtree(BUILD_COPY, ignore_errors=True)


@pytest.fixture
def machine():
    m = Machine()
    try:
        yield m
        for name, process in m.processes.items():
            assert process.poll() is None, f'{name} ended by itself: {m.log(name)[-3000:]}'
    finally:
        m.close()


@pytest.fixture
def running(machine):
    """Host and actuator, connected."""
    machine.start_host()
    machine.start_actuator()
    machine.wait_connected()
    return machine
