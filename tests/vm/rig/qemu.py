# SPDX-License-Identifier: MIT
"""A guest under QEMU, with virtio-mem, and everything that a test wants to do with it."""

import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from . import accel, image, overlay
from .agent import Agent
from .host import HostDaemon
from .paths import RigError, find_tool
from .process import NOBODY, Process, wait_until
from .qmp import Qmp

MIB = 1024 * 1024
GIB = 1024 * MIB
# What nothing here needs costs boot time under TCG; mitigations alone are a fifth of it.
MACHINE = 'q35,i8042=off,sata=off,smbus=off,vmport=off'
CMDLINE = ('console=ttyS0 quiet panic=-1 fsck.mode=skip systemd.show_status=0 mitigations=off apparmor=0 selinux=0 audit=0 '
           'cryptomgr.notests 8250.nr_uarts=1')
_UNITS = {'': 1, 'K': 1024, 'M': MIB, 'G': GIB}


def parse_size(size):
    """Bytes of an int or of a text like 512M or 8G."""
    if isinstance(size, int):
        return size
    match = re.fullmatch(r'(\d+)([KMG]?)', size)
    if not match:
        raise RigError(f'{size!r} is not a size: take a whole number with K, M or G')
    return int(match.group(1)) * _UNITS[match.group(2)]


class Guest:
    """A Debian guest. Use it as a context manager; QEMU is gone at the end of it.

    kernel    '6.1' or '6.12'
    boot      boot memory; device: size of each virtio-mem device; ndevices: how many, named vm0, vm1, …
    memhp     memhp_default_state= of the kernel command line, or None to leave it out
    append    more of the kernel command line
    destdir   the installed tree that the guest runs (overlay.install_build()), None for a bare Debian
    units     which units of it are enabled; files: more files (overlay.make())
    logs      folder for console.log, journal.log, qemu.log and host.log
    disk      an image that was made with more packages (image.image()), None for the ordinary one
    channel   whether the guest has the port org.vmtide.0
    """

    def __init__(self, kernel='6.1', boot='1G', device='8G', ndevices=1, smp=2, memhp='online_movable', append='',
                 destdir=None, units=overlay.GUEST_UNITS, files=None, logs=None, accelerator='auto', qemu_args=(), disk=None,
                 channel=True):
        self.kernel = image.kernel(kernel)
        self.boot = parse_size(boot)
        self.device = parse_size(device)
        self.devices = [f'vm{i}' for i in range(ndevices)]
        self.smp = smp
        self._cmdline = ' '.join(filter(None, [
            CMDLINE, f'memhp_default_state={memhp}' if memhp else '', append]))
        self._overlay = (destdir, units, files)
        self._accelerator = accelerator
        self._qemu_args = list(qemu_args)
        self._channel = channel
        self._disk = disk or image.image()
        # Short, because the path of a unix socket is; open to look through, because the host daemon is not root.
        self.folder = Path(tempfile.mkdtemp(prefix='vmt-', dir='/tmp'))
        self.folder.chmod(0o711)
        self.logs = Path(logs) if logs else self.folder / 'logs'
        self.logs.mkdir(parents=True, exist_ok=True)
        self.channel_path = self.folder / 'channel.sock'
        self.host_qmp_path = self.folder / 'host-qmp.sock'
        self.process = self.agent = self._qmp = None
        self.host = None
        self.booted_in = None  # seconds from QEMU's start to the last wait_booted()
        self._begun = 0.0

    # Start and end

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    def start(self):
        """Starts QEMU; wait_booted() waits for the guest."""
        initrd = self.folder / 'initrd'
        initrd.write_bytes(self.kernel.initrd.read_bytes() + overlay.make(*self._overlay))
        argv = self._command_line(initrd)
        self._begun = time.monotonic()
        self.process = Process(argv, self.logs / 'qemu.log')
        self._qmp = wait_until(self._connect_qmp, 20, 'QEMU opens its QMP socket')
        self.agent = Agent(self.folder / 'test.sock')
        for path in (self.channel_path, self.host_qmp_path):
            if os.geteuid() == 0 and path.exists():
                os.chown(path, NOBODY, NOBODY)
        self._qmp.command('cont')
        return self

    def _connect_qmp(self):
        """The rig's connection, or None: the socket is there before anybody listens at it."""
        self.process.check()
        try:
            return Qmp(self.folder / 'rig-qmp.sock', self._on_event)
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    def _command_line(self, initrd):
        maximum = (self.boot + self.device * len(self.devices)) // MIB
        argv = [find_tool('qemu-system-x86_64'), *accel.options(self._accelerator), '-machine', MACHINE, '-nodefaults',
                '-no-user-config', '-display', 'none', '-S', '-smp', self.smp,
                '-m', f'{self.boot // MIB}M,maxmem={maximum}M,slots=2',
                '-kernel', self.kernel.vmlinuz, '-initrd', initrd, '-append', self._cmdline,
                '-drive', f'file={self._disk},format=raw,if=none,id=disk,snapshot=on,cache=unsafe',
                '-device', 'virtio-blk-pci,drive=disk',
                '-chardev', f'file,id=console,path={self.logs}/console.log', '-serial', 'chardev:console',
                '-device', 'virtio-serial-pci',
                '-chardev', f'file,id=journal,path={self.logs}/journal.log', '-device', 'virtconsole,chardev=journal',
                '-qmp', f'unix:{self.folder}/rig-qmp.sock,server=on,wait=off',
                '-qmp', f'unix:{self.host_qmp_path},server=on,wait=off']
        ports = (('org.vmtide.0', self.channel_path), ('org.vmtide.test.0', self.folder / 'test.sock'))
        for name, path in ports if self._channel else ports[1:]:
            argv += ['-chardev', f'socket,id={name},path={path},server=on,wait=off',
                     '-device', f'virtserialport,id=port-{name},chardev={name},name={name}']
        for i, name in enumerate(self.devices):
            argv += ['-object', f'memory-backend-ram,id=mem-{name},size={self.device // MIB}M,reserve=off',
                     '-device', f'pcie-root-port,id=port{i},chassis={i + 1}',
                     '-device', f'virtio-mem-pci,id={name},memdev=mem-{name},node=0,requested-size=0,bus=port{i}']
        return argv + self._qemu_args

    def wait_booted(self, timeout=120):
        """Waits until systemd has done all it wanted at boot; returns its state, "running" or "degraded"."""
        deadline = time.monotonic() + timeout
        try:
            self.agent.wait_ready(timeout)
            result = self.run('systemctl is-system-running --wait; udevadm settle', max(1, deadline - time.monotonic()))
        except RigError as error:
            self.process.check()
            raise RigError(f'the guest did not boot in {timeout} s ({error}); {self.logs}/console.log ends:\n'
                           f'{self.console()[-2000:]}') from error
        self.booted_in = time.monotonic() - self._begun
        return result.stdout.strip()

    def _on_event(self, name, _data):
        if name == 'RESET' and self.agent is not None:
            self.agent.reset()

    def reset(self):
        """Resets the guest hard, as its reset button would; wait_booted() waits for the new boot."""
        since = self._begun = time.monotonic()
        self.qmp('system_reset')
        self._qmp.wait_event('RESET', 10, since)

    def reboot(self, timeout=60):
        """Reboots the guest by its systemd; wait_booted() waits for the new boot."""
        since = self._begun = time.monotonic()
        self.start_command('systemctl reboot')
        self._qmp.wait_event('RESET', timeout, since)

    def shutdown(self, timeout=60):
        """Shuts the guest down by its systemd, and waits for QEMU's end."""
        self.start_command('systemctl poweroff')
        return self.process.wait(timeout)

    def close(self):
        """Ends the host daemon and QEMU, and removes the sockets. The logs stay where they were asked for."""
        if self.host is not None:
            self.host.kill()
        for connection in (self.agent, self._qmp):
            if connection is not None:
                connection.close()
        if self.process is not None:
            self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Commands in the guest

    def run(self, script, timeout=60, stdin=b''):
        """Runs a script of /bin/sh as root in the guest: (status, stdout, stderr)."""
        return self.agent.start(script, stdin).wait(timeout)

    def check(self, script, timeout=60, stdin=b''):
        """Same, but a status other than 0 is an error; returns the standard output."""
        result = self.run(script, timeout, stdin)
        if result.status != 0:
            raise RigError(f'in the guest: {script}\nstatus {result.status}\n{result.stdout}{result.stderr}')
        return result.stdout

    def start_command(self, script, stdin=b'', slice_name=None):
        """Starts a script and returns its handle (agent.Command: poll, wait, wait_output, kill).

        slice_name: the systemd slice that it runs in, "user.slice" for a workload that the guard holds back.
        Without it, it runs in the agent's own slice, outside of every guard.
        """
        if slice_name is not None:
            scope = f'exec systemd-run --quiet --scope --collect --slice={slice_name} /bin/sh -s'
            if stdin:
                raise RigError('a command in a slice takes no standard input')
            return self.agent.start(scope, script)
        return self.agent.start(script, stdin)

    def read(self, path, timeout=10):
        """Reads a file of the guest without starting a process there."""
        return self.agent.read(path, timeout)

    def write(self, path, text, mode='644'):
        """Writes a file of the guest."""
        self.check(f'mkdir -p "$(dirname {path})" && cat >{path} && chmod {mode} {path}', stdin=text)

    def meminfo(self):
        """/proc/meminfo as a dict, in bytes."""
        fields = {}
        for line in self.read('/proc/meminfo').splitlines():
            name, _, rest = line.partition(':')
            number, *unit = rest.split()
            fields[name] = int(number) * (1024 if unit == ['kB'] else 1)
        return fields

    def oom_kills(self):
        """How many processes the guest's kernel has killed since its boot."""
        return int(re.search(r'^oom_kill (\d+)$', self.read('/proc/vmstat'), re.M).group(1))

    # QEMU and its memory

    def qmp(self, command, /, **arguments):
        """A QMP command, by the rig's own socket."""
        return self._qmp.command(command, **arguments)

    def wait_event(self, name, timeout, since=0.0):
        """The data of the first QMP event NAME after SINCE (monotonic seconds)."""
        return self._qmp.wait_event(name, timeout, since)

    def request(self, size, device='vm0'):
        """Sets a device's requested size, as the host daemon would."""
        self.qmp('qom-set', path=f'/machine/peripheral/{device}', property='requested-size', value=parse_size(size))

    def device_sums(self):
        """(size, requested size) of all devices together."""
        devices = [entry['data'] for entry in self.qmp('query-memory-devices') if entry['type'] == 'virtio-mem']
        return sum(d['size'] for d in devices), sum(d['requested-size'] for d in devices)

    def size(self):
        """Plugged bytes of all devices, as QEMU knows them."""
        return self.device_sums()[0]

    def requested_size(self):
        return self.device_sums()[1]

    def wait_size(self, condition, timeout):
        """Waits until CONDITION(size) holds; a number waits for just that size. Returns the size."""
        wanted = condition if callable(condition) else lambda size: size == parse_size(condition)
        deadline = time.monotonic() + timeout
        while not wanted(size := self.size()):
            if time.monotonic() >= deadline:
                raise RigError(f'size is {size} (requested {self.requested_size()}) after {timeout} s')
            time.sleep(0.02)
        return size

    def rss(self):
        """QEMU's resident memory in bytes."""
        return self.process.status('VmRSS')

    # Host daemon and logs

    def start_host(self, *arguments, **settings):
        """Starts the build's vmtide-host for this guest, unprivileged; see host.HostDaemon."""
        if self.host is None:
            self.host = HostDaemon(self)
        self.host.start(*arguments, **settings)
        return self.host

    def console(self):
        path = self.logs / 'console.log'
        return path.read_text(encoding='utf-8', errors='replace') if path.exists() else ''

    def save_journal(self, timeout=20):
        """Asks the guest for its journal of this boot, for logs/journal.txt; False when it does not answer."""
        try:
            result = self.run('journalctl --boot --no-pager --output=short-monotonic | tail -c 900000', timeout)
        except (RigError, AttributeError):
            return False
        (self.logs / 'journal.txt').write_text(result.stdout, encoding='utf-8')
        return True
