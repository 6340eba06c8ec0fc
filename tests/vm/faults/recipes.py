# SPDX-License-Identifier: MIT
"""What rows inside of a guest have in common."""

from tests.vm.rig import GIB, wait_until
from tests.vm.rig.speed import patience
from tests.vm.test_guard import all_stand

from .stage import LOW

RESIZE, GRANTED = b'"resize"', b'"granted"'
# The programs of a plain user.
PLAIN = 'setpriv --reuid=65534 --regid=65534 --clear-groups'


def small(stage):
    """Nothing is plugged but what the monitor keeps, and it is at work."""
    stage.pause()
    stage.set_size(LOW)
    stage.resume()


def workload(stage, arguments, slice_name='user.slice', more=0):
    """A vmhog that wants MORE bytes than are available."""
    size = stage.guest.meminfo()['MemAvailable'] + more
    return stage.guest.start_command(f'exec vmhog --bytes {size} {arguments}', slice_name=slice_name)


def surge(stage, arguments='--rate 250M --hold 1', slice_name='user.slice'):
    """A burst of 1 GiB more than there is."""
    return workload(stage, arguments, slice_name, GIB)


def ends_well(stage, work, kills):
    """The burst had its memory, and nothing was killed since KILLS were counted."""
    result = work.wait(patience(180))
    assert result.status == 0, result
    assert stage.guest.oom_kills() == kills


def main_pid(guest, unit):
    return int(guest.check(f'systemctl show -P MainPID {unit}'))


def wait_armed(stage, timeout=30):
    wait_until(lambda: all_stand(stage.guest), timeout, 'the guard is armed')


class Journal:
    """What a unit says from now on, until the guest is booted again."""

    def __init__(self, guest, unit):
        self._guest, self._unit = guest, unit
        self._seen = len(self._lines())

    def _lines(self):
        return self._guest.check(f'journalctl --sync; journalctl --boot -u {self._unit} -o cat').splitlines()

    def text(self):
        return '\n'.join(self._lines()[self._seen:])

    def wait(self, *wanted, timeout=20):
        wait_until(lambda: all(one in self.text() for one in wanted), timeout, f'{self._unit} says {wanted}', step=0.2)
