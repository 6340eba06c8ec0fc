# SPDX-License-Identifier: MIT
"""Looks at the guests and at the host's daemon: their logs as they come, memory and descriptors, processes, counters."""

import os
import re
import threading
import time
import urllib.request
from pathlib import Path

from tests.vm.rig import RigError

from .leaks import Reading

DAEMONS = ('monitor', 'actuator')
ON_DEMAND = ('polkitd', 'systemd-hostnam', 'systemd-timedat')
READ_SECONDS = 15
READ_SECONDS_STRETCH = 5


class Tail:
    """The lines of a file, each with the moment at which it came."""

    def __init__(self, path):
        self._path = Path(path)
        self._place, self._rest = 0, b''
        self.lines = []

    def look(self):
        if not self._path.exists():
            return
        with open(self._path, 'rb') as file:
            file.seek(self._place)
            data = file.read()
        self._place += len(data)
        *lines, self._rest = (self._rest + data).split(b'\n')
        now = time.monotonic()
        self.lines += [(now, line.decode(errors='replace').rstrip('\r')) for line in lines if line.strip()]


class Tails(threading.Thread):
    """Looks at all of them five times a second."""

    def __init__(self, paths):
        super().__init__(name='tails', daemon=True)
        self.of = {name: Tail(path) for name, path in paths.items()}
        self._end = threading.Event()

    def run(self):
        while not self._end.wait(0.2):
            self.look()

    def look(self):
        for tail in self.of.values():
            tail.look()

    def stop(self):
        self._end.set()
        self.join(30)
        self.look()


class Reader(threading.Thread):
    """Reads the memory and the descriptors of all daemons again and again."""

    def __init__(self, stages, windows):
        super().__init__(name='reader', daemon=True)
        self._stages, self._windows = stages, windows
        self.readings, self.differences = [], []
        self.every = READ_SECONDS
        self._end = threading.Event()

    def run(self):
        while not self._end.wait(self.every):
            self.read()

    def read(self, idle=''):
        for stage in self._stages:
            if not stage.up.is_set():
                continue
            begun = time.monotonic()
            try:
                state = idle and _idle(stage)
                found = guest_readings(stage, state)
                if state == (idle and _idle(stage)):
                    self.readings += found
            except (RigError, ValueError) as error:
                if not self._windows.kinds(stage.name, begun, time.monotonic()):
                    self.differences.append(f'{stage.name}: its daemons cannot be read: {error}')
        begun = time.monotonic()
        try:
            self.readings.append(host_reading(self._stages[0].daemon, idle))
        except (OSError, TypeError) as error:
            if not self._windows.any(None, begun, time.monotonic(), ('kill_host',)):
                self.differences.append(f'the host\'s daemon cannot be read: {error}')

    def stop(self):
        self._end.set()
        self.join(120)


def guest_readings(stage, idle):
    script = '; '.join(
        f'p=$(systemctl show -P MainPID vmtide-{d}); echo {d} $p $(awk \'/^VmRSS/ {{ print $2 * 1024 }}\' /proc/$p/status) '
        '$(ls /proc/$p/fd | wc -l)' for d in DAEMONS)
    rows = [line.split() for line in stage.guest.check(f'{script}; cat /proc/sys/kernel/random/boot_id', 60).splitlines()]
    boot = rows.pop()[0][:8]
    # One that is being started again has no numbers.
    return [Reading(time.monotonic(), f'{stage.name}: {row[0]}', f'{row[1]}@{boot}', int(row[2]), int(row[3]), idle)
            for row in rows if len(row) == 4 and row[1] != '0']


def _idle(stage):
    """What an idle guest is in: an armed guard holds files open, and is the monitor's business."""
    headroom = stage.actuator('GuardHeadroom')
    return '' if headroom is None else 'idle, guard off' if headroom == ['0'] else 'idle, guard on'


def host_reading(daemon, idle):
    pid = daemon.pid
    status = Path(f'/proc/{pid}/status').read_text(encoding='ascii')
    return Reading(time.monotonic(), 'host', str(pid), int(re.search(r'^VmRSS:\s+(\d+)', status, re.M)[1]) * 1024,
                   len(os.listdir(f'/proc/{pid}/fd')), idle)


def processes(guest):
    """Names of the user space processes, sorted, but for those that the rig's own commands are."""
    text = guest.check('ps -eo ppid,comm,cgroup --no-headers', 60)
    return processes_of(text)


def processes_of(text):
    rows = [line.split(None, 2) for line in text.splitlines()]
    return sorted(name for parent, name, cgroup in rows if parent not in ('0', '2') and '/vmtest-agent.service' not in cgroup
                  and not (name == '(udev-worker)' and 'systemd-udevd.service' in cgroup)) + [
        name for parent, name, _ in rows if parent == '0' and name != 'kthreadd']


def more_processes(first, last):
    """Names that there are more of than at first; a service that starts when it is asked may be there once."""
    return sorted(name for name in set(last) if last.count(name) > max(first.count(name), name in ON_DEMAND))


def kernel_lines(guest):
    return guest.check('journalctl -b -k -o cat --no-pager', 120).splitlines()


def counters(port, name):
    """{'granted': …, 'refused': …} of VM NAME as the host's daemon counts them."""
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics', timeout=10) as answer:
        text = answer.read().decode()
    granted = re.search(rf'^vmtide_vm_grants_total{{vm="{name}"}} (\d+)$', text, re.M)
    refused = re.findall(rf'^vmtide_vm_refusals_total{{vm="{name}",code="[a-z-]+"}} (\d+)$', text, re.M)
    return {'granted': int(granted[1]), 'refused': sum(int(n) for n in refused)}
