# SPDX-License-Identifier: MIT
"""Runs the workload of scripts/bench footprint in one guest, and takes the measure of it from outside."""

import re
import time
from collections import namedtuple
from pathlib import Path

from tests.vm.rig.paths import RigError
from tests.vm.rig.qemu import GIB

from . import lab, workload

PERIOD = 0.5
LIMIT_SECONDS = 3600
TICKS = 100  # a second, in /proc/stat

# samples: rows (seconds, QEMU's RSS, size, requested size); phases: rows (name, begin, end, seconds of work), in
# seconds from the first sample; cpu, psi_some, psi_full, qemu_cpu in seconds
Run = namedtuple('Run', 'samples phases seconds cpu qemu_cpu psi_some psi_full kills refaults swapped resizes')


def guest_cpu(guest):
    """Seconds that the guest's processors have worked."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, guest.read('/proc/stat').split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS


def qemu_cpu(guest):
    fields = Path(f'/proc/{guest.process.pid}/stat').read_text(encoding='ascii').rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def counters(guest, who):
    some, full = lab.psi_total(guest)
    stat = lab.vmstat(guest)
    return {
        'cpu': guest_cpu(guest), 'qemu_cpu': qemu_cpu(guest), 'psi_some': some, 'psi_full': full,
        'kills': stat['oom_kill'], 'refaults': stat['workingset_refault_anon'] + stat['workingset_refault_file'],
        'swapped': stat['pswpout'], 'resizes': who.resizes,
    }


def _watch(guest, who, command):
    """A sample each half second until the script ends."""
    samples, begun = [], time.monotonic()
    due = begun
    while command.poll() is None:
        now = time.monotonic()
        size, requested = guest.device_sums()
        samples.append((now - begun, guest.rss(), size, requested))
        who.tick(now)
        if now - begun > LIMIT_SECONDS:
            raise RigError(f'the workload was not over after {LIMIT_SECONDS} s')
        due = max(due + PERIOD, now)
        time.sleep(due - now)
    return samples


def run(guest, who, plan):
    """The workload, once."""
    before = counters(guest, who)
    command = guest.start_command(workload.script(plan), slice_name='user.slice')
    began = float(guest.read('/proc/uptime').split()[0])
    samples = _watch(guest, who, command)
    if command.poll() != 0 or '@ ' not in command.stdout():
        raise RigError(f'the workload ended with status {command.poll()}:\n{command.stdout()}{command.stderr()}')
    after = counters(guest, who)
    phases = [(name, begin - began, end - began, work)
              for name, begin, end, work in workload.phases(plan, command.stdout())]
    if not re.search(r'^@ \S+ over', command.stdout(), re.M):
        raise RigError(f'the workload did not come to its end:\n{command.stdout()}{command.stderr()}')
    return Run(samples, phases, sum(phase[3] for phase in phases),
               **{name: after[name] - before[name] for name in before})


def footprint(samples):
    """The integral of RSS in GiB x minutes."""
    pairs = zip(samples, samples[1:])
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs) / GIB / 60
