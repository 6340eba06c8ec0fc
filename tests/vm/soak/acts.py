# SPDX-License-Identifier: MIT
"""What is done to the guests at random: work, administrators' calls, faults."""

import threading
import time
from collections import Counter

from tests.vm.faults.relay import FROM_HOST, TO_HOST
from tests.vm.rig import MIB, GuestGone, RigError

# Within boot memory and 6 GiB of the device, whatever else is at work: nothing has to be killed.
WORK_MAX = 3072 * MIB
KINDS = ('anon', 'anon', 'tmpfs', 'file')
REFUSED, GONE = (1,), (69, 75)
# How long a fault may show in what callers are told: reconnecting, and a unit that is started again.
AFTERMATH = 60


class Faulty:
    """When something was broken on purpose, by guest."""

    def __init__(self):
        self._lock = threading.Lock()
        self._until = {}
        self.count = Counter()

    def begin(self, names, what):
        with self._lock:
            self.count[what] += 1
            for name in names:
                self._until[name] = float('inf')

    def end(self, names):
        with self._lock:
            for name in names:
                self._until[name] = time.monotonic() + AFTERMATH

    def lately(self, name, since):
        with self._lock:
            return self._until.get(name, 0) > since


class Calls:
    """vmtidectl in a guest, as an administrator would; every call ends in one of three ways, or is a difference."""

    def __init__(self, stage, faulty, rng):
        self.stage, self.faulty, self.rng = stage, faulty, rng
        self.made = self.done = self.refused = self.gone = 0
        self.differences = []

    def one(self):
        size = self.rng.choice(('2M', '64M', '128M', '300M', '512M', '1G'))
        verb = self.rng.choice((
            f'plug {size}', f'plug {size}', f'unplug {size}', f'unplug {size}', 'set-limits --max 5G', 'set-limits --reset',
            f'reserve {size} -- sleep 1', 'pause --for 2s', 'resume', 'status', 'explain -n 5', 'set-limits --max 4G --persist',
            'unplug 16E', 'plug 0', 'plug 100G'))
        begun = time.monotonic()
        try:
            result = self.stage.guest.run(f'vmtidectl {verb}', 120)
        except GuestGone:
            return
        self.made += 1
        self.take(verb, result, begun)

    def take(self, verb, result, begun):
        if result.status == 0:
            self.done += 1
        elif result.status in REFUSED or (result.status == 75 and 'rate' in result.stderr):
            self.refused += 1
        elif result.status == 64 and verb in ('unplug 16E', 'plug 0'):
            self.refused += 1
        elif result.status in GONE and self.faulty.lately(self.stage.name, begun):
            self.gone += 1
        else:
            self.differences.append(f'{self.stage.name}: vmtidectl {verb}: status {result.status}: {result.stderr.strip()}')

    def row(self):
        return f'{self.made} calls = {self.done} done + {self.refused} refused + {self.gone} while a daemon was gone'


class Work:
    """Bursts in user.slice; each has to end well."""

    def __init__(self, stage, rng):
        self.stage, self.rng = stage, rng
        self.begun = self.ended = self.lost = 0
        self.differences = []

    def one(self):
        kind, size = self.rng.choice(KINDS), self.rng.randrange(128, WORK_MAX // MIB)
        if kind == 'file':
            size = min(size, 1500)
        rate = self.rng.choice(('', '--rate 60M', '--rate 150M', '--rate 300M'))
        script = f'exec vmhog --kind {kind} {rate} --threads {self.rng.randrange(1, 4)} --bytes {size}M --hold {self.rng.randrange(8)}'
        self.begun += 1
        try:
            result = self.stage.guest.start_command(script, slice_name='user.slice').wait(600)
        except GuestGone:
            self.lost += 1
            return
        if result.status == 0:
            self.ended += 1
        else:
            self.differences.append(f'{self.stage.name}: {script}: status {result.status}: {result.stderr.strip()}')

    def row(self):
        return f'{self.begun} bursts = {self.ended} ended well + {self.lost} lost in a reset of the guest'


# Each takes a stage, and leaves things as they were.

def kill_monitor(stage):
    stage.kill('monitor')


def kill_actuator(stage):
    stage.kill('actuator')


def kill_host(stage):
    stage.kill('host')


def freeze_host(stage):
    stage.signal('host', 'STOP')
    time.sleep(3)
    stage.signal('host', 'CONT')


def freeze_actuator(stage):
    stage.signal('actuator', 'STOP')
    time.sleep(2)
    stage.signal('actuator', 'CONT')


def cut_channel(stage):
    stage.channel.cut()


def cut_in_line(stage):
    direction, wanted = ((TO_HOST, b'"resize"'), (FROM_HOST, b'"granted"'))[int(time.monotonic()) % 2]
    stage.channel.cut_in_line(direction, wanted)
    time.sleep(5)
    stage.channel.cut_in_line('', b'')


def late_grant(stage):
    with stage.channel.hold(FROM_HOST, b'"granted"') as held:
        try:
            held.wait(10)
            time.sleep(3)
        except AssertionError:
            pass


def bad_lines(stage):
    stage.channel.inject(TO_HOST, b'}{\n\xff\xfe\n{"op":"resize","id":-1}\n')
    stage.channel.inject(FROM_HOST, b'}{\n{"op":"granted"}\n')


def cut_qmp(stage):
    stage.qmp.cut()


def stall_qmp(stage):
    with stage.qmp.hold(TO_HOST, b'"return"') as held:
        try:
            held.wait(5)
            time.sleep(4)
        except AssertionError:
            pass


def pause_qemu(stage):
    stage.guest.qmp('stop')
    time.sleep(2)
    stage.guest.qmp('cont')


def reload_systemd(stage):
    stage.guest.check('systemctl daemon-reload', 60)


def reload_daemons(stage):
    stage.guest.check('systemctl reload vmtide-actuator vmtide-monitor', 60)


def stop_polkit(stage):
    stage.guest.check('systemctl stop polkit; sleep 1; systemctl start polkit', 60)


def onlining_offline(stage):
    stage.guest.check('echo offline >/sys/devices/system/memory/auto_online_blocks', 30)


# What befalls every guest of the host.
COMMON = (kill_host, freeze_host)
FAULTS = (*COMMON, kill_monitor, kill_actuator, freeze_actuator, cut_channel, cut_in_line, late_grant, bad_lines, cut_qmp,
          stall_qmp, pause_qemu, reload_systemd, reload_daemons, stop_polkit, onlining_offline)


def do_fault(fault, stage, stages, faulty):
    """One fault, with its name in the books."""
    names = [s.name for s in stages] if fault in COMMON else [stage.name]
    faulty.begin(names, fault.__name__)
    try:
        fault(stage)
    except RigError as error:
        raise RigError(f'{fault.__name__} in {stage.name}: {error}') from error
    finally:
        faulty.end(names)
