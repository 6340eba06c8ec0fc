# SPDX-License-Identifier: MIT
"""A guest with all its daemons, the host's daemon on a bus of its own, and a relay in each of the host's sockets: where
the rows of the matrix happen. stage.agree() and stage.goes_on() are how a row ends."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from tests.bus.conftest import BUS_CONFIG
from tests.vm.rig import GIB, MIB, RigError, wait_until
from tests.vm.rig.paths import build_dir, find_tool
from tests.vm.rig.process import NOBODY, Process
from tests.vm.rig.qemu import parse_size
from tests.vm.rig.speed import measure, patience
from tests.vm.test_job import MEMORY_BLOCK, MONITOR, STANDING, offline_blocks, online_blocks, properties, standing_size

from .deaths import Deaths
from .relay import Relay

DAEMONS = ('monitor', 'actuator', 'host')
HOST_NAME, HOST_INTERFACE = 'org.vmtide.Host1', 'org.vmtide.Host1.VM'
HELPERS = ('vmplug', 'vmkill', 'vmabuse', 'vmdevmem')
# What a guest is brought down to, and what its monitor keeps. Below it, the kernel takes hold of a few MiB at times.
LOW = STANDING
# Under a loaded machine; a good run takes a tenth of it.
AGREE_SECONDS = 30


def helper_files():
    return {f'/usr/local/bin/{name}': ((build_dir() / 'tests/vm/guest' / name).read_bytes(), 0o755) for name in HELPERS}


class Stage:
    """GUEST is booted, with the units of the guest's daemons running in it. OTHERS are stages whose guests have the same
    host's daemon: they are made with landlord=False."""

    def __init__(self, guest, maximum='6G', name='guest', landlord=True, others=(), options=()):
        self.guest = guest
        self.name = name
        self.maximum = maximum
        self.bus = None
        self.channel = Relay(guest.folder / 'relay-channel', guest.channel_path)
        self.qmp = Relay(guest.folder / 'relay-qmp', guest.host_qmp_path)
        self.daemon = None
        self.deaths = Deaths(self)
        self._boot_total = None
        measure(guest)
        if landlord:
            self._start_bus()
            self._start_host(others, options)

    def vm_option(self):
        return (f'{self.name},channel={self.channel.path},qmp={self.qmp.path},device={"+".join(self.guest.devices)},'
                f'max={self.maximum}')

    def _start_host(self, others, options):
        state = self.guest.folder / 'host-state'
        state.mkdir()
        if os.geteuid() == 0:
            os.chown(state, NOBODY, NOBODY)
        self._more = [*[word for other in others for word in ('--vm', other.vm_option())], *options]
        self.start_host()
        for other in others:
            other.daemon, other.bus_address = self.daemon, self.bus_address
        for stage in (self, *others):
            stage.wait_connected()
            wait_until(stage._know_boot_total, AGREE_SECONDS, 'nothing is under way in a guest that has just booted')

    def start_host(self, *arguments):
        """The host's daemon, with more ARGUMENTS."""
        self.daemon = self.guest.start_host(
            '--host-reserve=256M', f'--bus={self.bus_address}', f'--limits-state={self.guest.folder}/host-state/limits',
            *self._more, *arguments, name=self.name, maximum=self.maximum, channel=self.channel.path, qmp=self.qmp.path)

    def _start_bus(self):
        folder = self.guest.folder
        (folder / 'bus.conf').write_text(BUS_CONFIG.format(folder=folder), encoding='ascii')
        self.bus_address = f'unix:path={folder}/bus'
        self.bus = Process([find_tool('dbus-daemon'), f'--config-file={folder}/bus.conf', '--nofork', '--nopidfile',
                            '--nosyslog'], self.guest.logs / 'bus.log')
        wait_until((folder / 'bus').exists, 10, 'the host has a bus')

    def close(self):
        self.channel.close()
        self.qmp.close()
        if self.bus is not None:
            self.bus.kill()
        self.guest.close()

    # What each side says

    def actuator(self, *names):
        """Properties of the actuator as busctl prints them, or None while it is not on the bus."""
        return properties(self.guest, *names)

    def monitor(self, *names):
        return properties(self.guest, *names, at=MONITOR)

    def host(self, *names):
        """Properties of the VM in the host's daemon, or None while it is not on the bus."""
        done = subprocess.run(['busctl', f'--address={self.bus_address}', '--timeout=5', '--json=short', 'get-property',
                               HOST_NAME, f'/org/vmtide/Host1/vm/{self.name}', HOST_INTERFACE, *names], capture_output=True, text=True, check=False)
        return [json.loads(line)['data'] for line in done.stdout.splitlines()] if done.returncode == 0 else None

    def sizes(self):
        """(size, requested size) as each says: None for one that says nothing."""
        actuator, host = self.actuator('Size', 'RequestedSize'), self.host('Size', 'RequestedSize')
        return {'qemu': self.guest.device_sums(), 'actuator': actuator and tuple(int(n) for n in actuator),
                'host': host and tuple(host)}

    def connected(self):
        return self.actuator('HostConnected') == ['true']

    def wait_connected(self, timeout=60):
        wait_until(self.connected, timeout, 'the actuator meets the host')

    # How a row ends

    def _know_boot_total(self):
        """What MemTotal is without the device's memory. The device's size is ahead of the kernel by the block that it is
        adding, which may be the last one."""
        guest = self.guest
        before, blocks, total, after = guest.device_sums(), online_blocks(guest), guest.meminfo()['MemTotal'], guest.device_sums()
        if before == after and after[0] == after[1] and blocks * MEMORY_BLOCK >= guest.boot + after[0]:
            self._boot_total = total - after[0]
        return self._boot_total is not None

    def plugged(self):
        """How much of the device's memory the guest's kernel has, and how many memory blocks are offline."""
        return self.guest.meminfo()['MemTotal'] - self._boot_total, offline_blocks(self.guest)

    def _agree_now(self, settled):
        """(the size or None, what each says): settled: nothing is under way and the guest's kernel has it all online."""
        sizes = self.sizes()
        size, requested = sizes['qemu']
        good = len(set(sizes.values())) == 1 and self.connected()
        if good and settled:
            sizes['guest'], sizes['offline blocks'] = self.plugged()
            good = abs(sizes['guest'] - size) < MEMORY_BLOCK and sizes['offline blocks'] == 0
            good = good and self.guest.device_sums() == (size, requested) == (size, size)
        return size if good else None, sizes

    def agree(self, timeout=AGREE_SECONDS, settled=False):
        """Waits until QEMU, actuator and host say the same; settled: and the guest's kernel, and nothing is under way."""
        deadline = time.monotonic() + timeout
        while True:
            size, sizes = self._agree_now(settled)
            if size is not None:
                return size
            if time.monotonic() > deadline:
                raise RigError(f'no agreement in {timeout} s: {sizes}, connected {self.connected()}\n'
                               f'{self.daemon.text()[-2000:]}')
            time.sleep(0.05)

    def goes_on(self):
        """The monitor is at work, what is short of memory gets it, and then all agree."""
        guest = self.guest
        self.wait_connected()
        wait_until(lambda: self.monitor('Mode') == ['"auto"'], 60, 'the monitor decides')
        # What it keeps plugged is no answer to a shortage.
        kept = standing_size(parse_size(self.maximum), guest.boot)
        wait_until(lambda: guest.size() >= kept, 60, 'the standing blocks are plugged')
        self._make_room()
        kills, size = guest.oom_kills(), guest.size()
        bytes_ = guest.meminfo()['MemAvailable'] + 256 * MIB
        hog = guest.start_command(f'exec vmhog --rate 250M --bytes {bytes_} --hold 0', slice_name='user.slice')
        result = hog.wait(patience(120))
        assert result.status == 0, result
        assert guest.size() > size or guest.requested_size() > size
        assert guest.oom_kills() == kills
        # What the monitor has begun ends, and no more is begun while it is looked at.
        self.pause()
        size = self.agree(settled=True)
        self.resume()
        return size

    def _make_room(self):
        """For a burst under the maximum."""
        most = parse_size(self.maximum) - GIB
        if self.guest.requested_size() > most:
            self.pause()
            self.set_size(LOW)
            self.resume()
            assert self.guest.requested_size() <= most

    # What is done to it

    def pause(self):
        """The monitor leaves the size to the test."""
        self.guest.check('vmtidectl pause --why test', 30)

    def resume(self):
        self.guest.check('vmtidectl resume', 30)

    def start_plug(self, verb, size):
        """A request, not waited for."""
        return self.guest.start_command(f'exec vmplug {verb} {size}')

    def set_size(self, size):
        """Brings a paused guest to SIZE, of which nothing is in use; a memory block more when the kernel clings to
        some. Returns what it has become."""
        have = self.agree(settled=True)
        if not size <= have <= size + MEMORY_BLOCK:
            self.guest.check(f'vmtidectl {"plug" if size > have else "unplug"} {abs(size - have)}', 60)
            self.guest.wait_size(lambda now: size <= now <= size + MEMORY_BLOCK, 60)
            self._let_cling()
        return self.agree(settled=True)

    def _let_cling(self):
        """What the kernel does not give up is ended by growth at once, and else as a stuck shrink after 30 s."""
        try:
            wait_until(lambda: len(set(self.guest.device_sums())) == 1, 5, 'the size is the requested size')
        except RigError:
            self.guest.check('vmtidectl plug 2M', 30)

    def pid(self, daemon):
        if daemon == 'host':
            return self.daemon.pid
        return int(self.guest.check(f'systemctl show -P MainPID vmtide-{daemon}'))

    def signal(self, daemon, name):
        """STOP, CONT, KILL, … to one of the three."""
        if daemon == 'host':
            self.daemon.send(signal.Signals[f'SIG{name}'])
        else:
            self.guest.check(f'systemctl kill --kill-whom=main -s {name} vmtide-{daemon}')

    def freeze(self, daemon):
        """STOP, waited for."""
        self.signal(daemon, 'STOP')
        pid = self.pid(daemon)
        status = Path(f'/proc/{pid}/status').read_text if daemon == 'host' else lambda: self.guest.read(f'/proc/{pid}/status')
        wait_until(lambda: '\nState:\tT' in status(), 10, f'the {daemon} stands still')

    def kill(self, daemon):
        """kill -9; systemd starts it again, the test does so for the host's."""
        if daemon == 'host':
            self.kill_host()
            self.daemon.restart()
        else:
            before = self.pid(daemon)
            self.deaths.kill(daemon)
            self.signal(daemon, 'KILL')
            self.wait_again(daemon, before)

    def kill_host(self):
        """kill -9 of the host's daemon, which was alive."""
        assert self.daemon.running(), self.daemon.text()[-2000:]
        self.daemon.kill()

    def wait_again(self, daemon, before):
        """Waits until systemd has started one that was killed."""
        wait_until(lambda: self.pid(daemon) not in (0, before), 30, f'systemd starts the {daemon} again')
