# SPDX-License-Identifier: MIT
"""That no daemon ends but by the row itself: systemd starts a crashed one again, and the job goes on as if nothing were."""

import re
from collections import Counter

ENDED = re.compile(r'vmtide-(monitor|actuator)\.service: (?:Main|Control) process exited, (.*)')
BY_KILL = 'code=killed, status=9/KILL'
CRASH = re.compile(r'.*vmtide.*(?:segfault|general protection|trap ).*|.*traps: vmtide.*|.*Killed process \d+ \(vmtide.*')


class Deaths:
    """Of the daemons of a stage, from begin() on. What the row itself kills is told to kill()."""

    def __init__(self, stage):
        self._stage = stage
        # The copy of the journal that survives a reboot of the guest.
        self._log = stage.guest.logs / 'journal.log'
        self.begin()

    def begin(self):
        """A row begins."""
        self._seen = len(self._text())
        self._own = Counter()
        self._excused = set()

    def kill(self, daemon):
        """The row kills this one, once."""
        self._own[daemon] += 1

    def excuse(self, daemon):
        """Something else runs in its unit, and may end as it likes."""
        self._excused.add(daemon)

    def _text(self):
        return self._log.read_text(encoding='utf-8', errors='replace') if self._log.exists() else ''

    def check(self):
        """The daemons of the guest have ended as often as they were killed, and the host's runs."""
        kernel = self._stage.guest.check('journalctl --sync; dmesg', 60)
        found, ends = CRASH.findall(kernel), Counter()
        for daemon, how in ENDED.findall(self._text()[self._seen:]):
            if how.strip() == BY_KILL:
                ends[daemon] += 1
            elif daemon not in self._excused:
                found.append(f'{daemon}: {how.strip()}')
        for daemon in {*ends, *self._own} - self._excused:
            if ends[daemon] != self._own[daemon]:
                found.append(f'{daemon}: killed {self._own[daemon]} times, ended by SIGKILL {ends[daemon]} times')
        if not self._stage.daemon.running():
            found.append(f'host: does not run\n{self._stage.daemon.text()[-2000:]}')
        assert not found, found
