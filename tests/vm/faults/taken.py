# SPDX-License-Identifier: MIT
"""A monitor that was taken over: a program of ours in its unit, as its user, in its sandbox."""

import contextlib

from tests.vm.rig import wait_until

UNIT = 'vmtide-monitor.service'
DROP_IN = f'/run/systemd/system/{UNIT}.d/taken.conf'
SAID = '/run/taken'
# The rest of the unit stands.
TAKEN = '''[Service]
Type=exec
Restart=no
WatchdogSec=0
StandardOutput=truncate:{said}
ExecStart=
ExecStart={command}
'''


class Taken:
    """What runs in the monitor's place."""

    def __init__(self, stage):
        self._guest = stage.guest

    def start(self, command):
        self._guest.write(DROP_IN, TAKEN.format(said=SAID, command=command))
        self._guest.check(f'systemctl daemon-reload && systemctl restart {UNIT}', 60)
        return self

    def ended(self):
        return self._guest.check(f'systemctl show -P ActiveState {UNIT}').strip() in ('inactive', 'failed')

    def said(self):
        return self._guest.read(SAID)

    def wait(self, timeout=60):
        """Waits for its end; returns what it has said."""
        wait_until(self.ended, timeout, 'what runs in the monitor\'s place ends', step=0.3)
        return self.said()

    def wait_said(self, text, timeout=30):
        wait_until(lambda: text in self.said(), timeout, f'it says {text}', step=0.1)

    def kill(self):
        self._guest.check(f'systemctl kill -s KILL {UNIT}; systemctl reset-failed {UNIT}')


@contextlib.contextmanager
def taken(stage):
    """With the monitor stopped; afterwards it is there again."""
    stage.deaths.excuse('monitor')
    stage.guest.check(f'systemctl stop {UNIT}', 60)
    try:
        yield Taken(stage)
    finally:
        stage.guest.check(f'systemctl stop {UNIT}; rm -f {DROP_IN}; systemctl daemon-reload; systemctl reset-failed {UNIT}; '
                          f'systemctl start {UNIT}', 60)
