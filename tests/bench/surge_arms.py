# SPDX-License-Identifier: MIT
"""Who brings the memory in scripts/bench surge: vmtide, vmtide without its guard, simple policies, or nobody."""

import sys

from tests.vm.rig.paths import RigError
from tests.vm.rig.qemu import MIB, Guest

from . import lab
from .late import LateChannel

STEP = 512 * MIB
LINE = 256 * MIB  # what MemAvailable is not to fall under
FIXED_BOOT = '7G'
ACTUATOR_CONF = '/etc/vmtide/actuator.conf'

ARMS = {
    'fixed': f'a fixed guest of {FIXED_BOOT}, its memory touched for the first time',
    'warm': 'the same, its memory touched before',
    'psi': f'a pressure event: plug {STEP // MIB} MiB',
    'sampling': f'MemAvailable under {LINE // MIB} MiB, looked at every 20 ms: plug {STEP // MIB} MiB',
    'noguard': 'vmtide without the guard',
    'vmtide': 'vmtide',
}
FIXED = ('fixed', 'warm')
POLICIES = {'psi': f'psi {STEP}', 'sampling': f'available {STEP} {LINE}'}


def has_guard(destdir):
    """Whether the installed actuator knows the switch."""
    with open(f'{destdir}{ACTUATOR_CONF}', encoding='utf-8') as file:
        return '#Guard=' in file.read()


def guard_files(destdir, arm):
    """The actuator's configuration for an arm, as files of a Guest."""
    if not has_guard(destdir):
        return {}
    return {ACTUATOR_CONF: f'[Actuator]\nGuard={"yes" if arm == "vmtide" else "no"}\n'}


class Stage:
    """A guest of one arm, booted when it is needed and thrown away when something was killed in it."""

    def __init__(self, arm, kernel, destdir):
        self.arm = arm
        self.late = None
        self._kernel = kernel
        self._destdir = destdir
        self._guest = None
        self._policy = None
        self._logs = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.discard()

    def discard(self):
        if self.late is not None:
            self.late.close()
        if self._guest is not None:
            self._guest.save_journal()
            self._guest.close()
        self._guest = self.late = self._policy = None

    def _boot(self):
        self._logs += 1
        logs = lab.log_folder('surge') / f'{self._kernel}-{self.arm}-{self._logs}'
        print(f'booting {self.arm} with Linux {self._kernel} … (logs: {logs.name})', file=sys.stderr)
        common = {'kernel': self._kernel, 'disk': lab.big_disk(), 'logs': logs}
        if self.arm in FIXED:
            self._guest = Guest(boot=FIXED_BOOT, **common)
            self._guest.start()
            self._guest.wait_booted()
            return
        units = ('vmtide-actuator.service',) if self.arm in POLICIES else ('vmtide-actuator.service',
                                                                          'vmtide-monitor.service')
        self._guest = Guest(destdir=self._destdir, units=units, **common,
                            files={**lab.tools('vmpolicy'), **guard_files(self._destdir, self.arm)})
        self._guest.start()
        self._guest.wait_booted()
        self.late = LateChannel(self._guest)
        self._guest.start_host('--host-reserve', lab.HOST_RESERVE, channel=self.late.path)
        lab.wait_connected(self._guest)

    def ready(self, delay, before):
        """A guest without plugged memory in which the arm is at work; the host answers DELAY seconds late."""
        if self._guest is None:
            self._boot()
        guest = self._guest
        if self.arm not in FIXED:
            self.late.delay = 0.0
            self._stop_policy()
            lab.drain(guest, monitor=self.arm not in POLICIES)
            if before:
                before(guest)
            self._start_policy()
            self.late.delay = delay
        else:
            guest.check('sync; echo 3 >/proc/sys/vm/drop_caches', timeout=120)
            if before:
                before(guest)
        return guest

    def _start_policy(self):
        if self.arm not in POLICIES:
            return
        script = f'exec systemd-run --quiet --scope --collect --slice=vmtide.slice vmpolicy {POLICIES[self.arm]}'
        self._policy = self._guest.start_command(script)
        self._policy.wait_output('ready', 30)

    def _stop_policy(self):
        if self._policy is None:
            return
        if self._policy.poll() is not None:
            raise RigError(f'the policy {self.arm} ended: {self._policy.stderr()}')
        self._policy.kill()
        self._policy.wait(20)
        self._policy = None
