# SPDX-License-Identifier: MIT
"""A monitor that was taken over, or an actuator: a program of ours in its unit, as its user, in its sandbox."""

import contextlib

from tests.vm.rig import wait_until

SAID = '/run/said'
# The rest of the unit stands.
TAKEN = '''[Service]
Type=exec
Restart=no
WatchdogSec=0
StandardOutput=append:{said}
ExecStart=
ExecStart={command}
'''


class Taken:
    """What runs in its place."""

    def __init__(self, stage, daemon):
        self._guest = stage.guest
        self.unit = f'vmtide-{daemon}.service'
        self.drop_in = f'/run/systemd/system/{self.unit}.d/taken.conf'

    def start(self, command):
        self._guest.write(self.drop_in, TAKEN.format(said=SAID, command=command))
        # It is added to: what the unit starts afterwards has the same output.
        self._guest.check(f'rm -f {SAID} && systemctl daemon-reload && systemctl restart {self.unit}', 60)
        return self

    def show(self, name):
        return self._guest.check(f'systemctl show -P {name} {self.unit}').strip()

    def ended(self):
        return self.show('ActiveState') in ('inactive', 'failed')

    def said(self):
        return self._guest.read(SAID)

    def wait(self, timeout=60):
        """Waits for its end; returns what it has said."""
        wait_until(self.ended, timeout, f'what runs in place of {self.unit} ends', step=0.3)
        return self.said()

    def wait_said(self, text, timeout=30):
        wait_until(lambda: text in self.said(), timeout, f'it says {text}', step=0.1)

    def kill(self):
        self._guest.check(f'systemctl kill -s KILL {self.unit}; systemctl reset-failed {self.unit}')


@contextlib.contextmanager
def taken(stage, daemon='monitor'):
    """With the daemon stopped; afterwards it is there again."""
    taken = Taken(stage, daemon)
    unit = taken.unit
    stage.deaths.excuse(daemon)
    stage.guest.check(f'systemctl stop {unit}', 60)
    try:
        yield taken
    finally:
        stage.guest.check(f'systemctl stop {unit}; rm -f {taken.drop_in}; systemctl daemon-reload; systemctl reset-failed {unit}; '
                          f'systemctl start {unit}', 60)
