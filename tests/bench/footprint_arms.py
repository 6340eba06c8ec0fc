# SPDX-License-Identifier: MIT
"""The guests of scripts/bench footprint. All have the same memory at most; they differ in who gives back what."""

import contextlib
import re
import sys

from tests.vm.rig.qemu import GIB, MIB, Guest

from . import lab

MAXIMUM = 8 * GIB
BOOT = GIB
# Touched in every guest before the work begins: boot memory that was touched once never returns by itself.
TOUCHED = 640 * MIB
# As the actuator has it for a device of more than 3 x boot memory.
ONLINING = 'memory_hotplug.online_policy=auto-movable'
ARMS = {
    'fixed': 'fixed size',
    'reporting': 'fixed size, virtio-balloon with free page reporting',
    'rule': 'virtio-mem, resized by the host from the free memory that it sees',
    'vmtide': 'virtio-mem, vmtide',
    'both': 'virtio-mem, vmtide, and free page reporting for what the guest has',
}
DEFAULT = ('fixed', 'reporting', 'rule', 'vmtide')
BALLOON = ('-device', 'virtio-balloon-pci')
REPORTING = ('-device', 'virtio-balloon-pci,free-page-reporting=on')


class Rule:
    """HyperAlloc's rule for virtio-mem (EuroSys'25): every 1.7 s, from the guest's free memory."""

    PERIOD = 1.7
    STEP = MAXIMUM // 16

    def __init__(self, guest):
        self._guest = guest
        self._requested = 0
        self._next = 0.0
        self.resizes = 0

    def tick(self, now):
        if now < self._next:
            return
        self._next = now + self.PERIOD
        free = self._guest.meminfo()['MemFree'] * 9 // 10
        steps = 2 if free < self.STEP // 2 else 1 if free < self.STEP else -1 if free > 2 * self.STEP else 0
        wanted = min(max(self._requested + steps * self.STEP, 0), MAXIMUM - BOOT)
        if wanted != self._requested:
            self._guest.request(wanted)
            self._requested = wanted
            self.resizes += 1


class Nobody:
    """Nobody resizes, or vmtide does, whose host daemon counts."""

    def __init__(self, guest):
        self._guest = guest

    def tick(self, _now):
        pass

    @property
    def resizes(self):
        if self._guest.host is None:
            return 0
        return len(re.findall(r': (?:granted|raised): requested size', self._guest.host.text()))


def _guest(arm, kernel, destdir, balloon):
    common = {'kernel': kernel, 'disk': lab.big_disk(), 'logs': lab.log_folder('footprint') / f'{kernel}-{arm}',
              'files': lab.tools('vmtree')}
    if arm == 'fixed':
        return Guest(boot=MAXIMUM, qemu_args=BALLOON if balloon else (), **common)
    if arm == 'reporting':
        return Guest(boot=MAXIMUM, qemu_args=REPORTING, **common)
    device = {'boot': BOOT, 'device': MAXIMUM - BOOT}
    if arm == 'rule':
        return Guest(memhp='online', append=ONLINING, **device, **common)
    return Guest(destdir=destdir, qemu_args=REPORTING if arm == 'both' else (), **device, **common)


@contextlib.contextmanager
def started(arm, kernel, destdir, balloon=False):
    """A guest of the arm that has touched what all have touched: (guest, who resizes). balloon: one of fixed size has a
    balloon, with which its free memory can be made cold."""
    print(f'booting {arm} with Linux {kernel} …', file=sys.stderr)
    with _guest(arm, kernel, destdir, balloon) as guest:
        guest.wait_booted()
        monitor = arm in ('vmtide', 'both')
        if monitor:
            guest.start_host('--host-reserve', lab.HOST_RESERVE)
            lab.wait_connected(guest)
            guest.check('systemctl stop vmtide-monitor')
        # Of the arms only vmtide sets this itself; the others would refuse a plateau above MemTotal.
        guest.check('sysctl -q vm.overcommit_memory=1')
        guest.check(f'vmhog --threads 1 --bytes {TOUCHED} --hold 0', timeout=120)
        if monitor:
            lab.drain(guest)
        yield guest, (Rule if arm == 'rule' else Nobody)(guest)
        guest.save_journal()
