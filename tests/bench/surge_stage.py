# SPDX-License-Identifier: MIT
"""The guests of scripts/bench surge: one with vmtide that several bursts share, and a fixed one for each time base."""

import re
import sys

from tests.vm.rig.paths import RigError
from tests.vm.rig.qemu import GIB, MIB, Guest

from . import lab, surge_kinds
from tests.vm.rig.late import LateChannel

FIXED_BOOT = '7G'
LATE_SECONDS = 1.0
HELD = 3 * GIB
HELD_RATE = 500 * MIB
SPARED = 200 * MIB  # what stays available while boot memory is touched
# A login session is not root's: without these a user's pipes and sockets are as small as its quota.
SYSCTLS = 'sysctl -q fs.pipe-user-pages-soft=0 net.core.wmem_max=8388608'
# What a guest reads while it boots and works: the system's files are its page cache.
FILL_CACHE = 'find /usr -xdev -type f -print0 | xargs -0 cat >/dev/null'
HELD_LINE = re.compile(r'guard: line of \S+ held for (\d+) ms')


def boot_size(fast):
    """Half of the memory for a burst that is to be faster beside the daemons."""
    return '512M' if fast > 1 else '1G'


def longest_hold(guest, since):
    """The longest that the guard held a line after SINCE (the guest's wall clock), in seconds; None when the guard's
    log does not tell. The log leaves out holds that follow each other quickly, so a longer one may be missing."""
    lines = guest.run(f'journalctl --boot --no-pager --output=cat --unit=vmtide-actuator --since=@{since}', 60).stdout
    held = [int(ms) for ms in HELD_LINE.findall(lines)]
    return max(held) / 1000 if held else None


class Stage:
    """A guest with vmtide, booted when it is needed and thrown away when something was killed in it."""

    def __init__(self, kernel, fast, destdir):
        self._kernel = kernel
        self._fast = fast
        self._destdir = destdir
        self._guest = self._late = None
        self._boots = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.discard()

    def discard(self):
        if self._late is not None:
            self._late.close()
        if self._guest is not None:
            self._guest.save_journal()
            self._guest.close()
        self._guest = self._late = None

    def _boot(self):
        self._boots += 1
        logs = lab.log_folder('surge') / f'{self._kernel}-{self._boots}'
        print(f'booting a guest with Linux {self._kernel} … (logs: {logs})', file=sys.stderr)
        self._guest = Guest(kernel=self._kernel, boot=boot_size(self._fast), destdir=self._destdir, logs=logs)
        self._guest.start()
        self._guest.wait_booted()
        self._guest.check(SYSCTLS)
        self._late = LateChannel(self._guest)
        self._guest.start_host('--host-reserve', lab.HOST_RESERVE, channel=self._late.path)
        lab.wait_connected(self._guest)

    def _limit_daemons(self, limited):
        """What makes the burst faster beside them. Not while they start: that takes seconds of their processor."""
        if self._fast > 1 and self._guest is not None:
            quota = f'{100 / self._fast:.0f}%' if limited else ''
            self._guest.check(f'systemctl set-property --runtime vmtide.slice CPUQuota={quota} CPUQuotaPeriodSec=10ms')

    def _ready(self, state):
        """A guest in the state in which a burst begins, but for what is held."""
        self._limit_daemons(False)
        self._prepare(state)
        lab.wait_armed(self._guest)
        self._limit_daemons(True)

    def _prepare(self, state):
        new = self._guest is None
        if new:
            self._boot()
        guest = self._guest
        self._late.delay = 0.0
        if new and state != 'touched':
            lab.wait_settled(guest)
            return
        lab.drain(guest, monitor=False)
        if state == 'touched':
            size = guest.meminfo()['MemAvailable'] - SPARED
            guest.check(f'vmhog --bytes {size} --hold 0; echo 3 >/proc/sys/vm/drop_caches', timeout=120)
        else:
            guest.check(FILL_CACHE, timeout=120)
        lab.start_monitor(guest)
        lab.wait_settled(guest)

    def run(self, cell, size):
        """One run of a cell. A guest in which something went wrong is no longer what it was: the next run gets a new
        one."""
        held = []
        try:
            self._ready(cell.state)
            kills = self._guest.oom_kills()
            if cell.state == 'held':
                held = [surge_kinds.hold(self._guest, cell.place, HELD, HELD_RATE)]
            self._late.delay = LATE_SECONDS if cell.host == 'late' else 0.0
            since = self._guest.check('date +%s.%N').strip()
            outcome = surge_kinds.run(
                self._guest, lambda: surge_kinds.start(self._guest, cell.place, cell.kind, size), kills,
                lambda: longest_hold(self._guest, since))
            surge_kinds.stop(self._guest, held)
        except RigError as problem:
            outcome = self._explain(problem)
        if outcome.outcome != 'ok':
            self.discard()
        return outcome

    def _explain(self, problem):
        """What a run was that did not come to its end."""
        try:
            kills = self._guest.oom_kills()
        except (RigError, AttributeError):
            kills = 0
        outcome = 'killed' if kills else 'hung' if isinstance(problem, surge_kinds.Hung) else 'failed'
        return surge_kinds.Outcome(outcome, kills, None, None, None, None, ' '.join(str(problem).split())[-120:])


def run_fixed(kernel, kind, size, fast):
    """The same burst in a guest of FIXED_BOOT whose memory QEMU has never touched, like memory that is plugged."""
    print(f'booting a fixed guest of {FIXED_BOOT} with Linux {kernel} …', file=sys.stderr)
    with Guest(kernel=kernel, boot=FIXED_BOOT, logs=lab.log_folder('surge') / f'{kernel}-fixed') as guest:
        guest.wait_booted()
        guest.check(SYSCTLS)
        kernel_bytes = surge_kinds.kernel_bytes(GIB // 2 if fast > 1 else GIB)
        return surge_kinds.run(guest, lambda: surge_kinds.start_fixed(guest, kind, size, kernel_bytes),
                               guest.oom_kills(), lambda: None)
