# SPDX-License-Identifier: MIT
"""Random work, faults and administrators' calls in real guests, and a balance at the end: what was asked was answered,
all agree, nothing is leaked, and each line of the logs has its reason."""

import argparse
import contextlib
import random
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.vm.faults.stage import Stage, helper_files
from tests.vm.rig import Guest, RigError, build_dir, install_build, say, wait_until

from . import watch
from .acts import FAULTS, Calls, Faulty, Work, do_fault
from .wire import Wire

CHECKPOINT_SECONDS = 300
NAMES = ('one', 'two', 'three', 'four')


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Soak:
    def __init__(self, stages, port, rng):
        self.stages, self.port = stages, port
        self.faulty = Faulty()
        self.rng = rng
        self.wires = {s.name: Wire(s.channel) for s in stages}
        self.calls = {s.name: Calls(s, self.faulty, random.Random(rng.random())) for s in stages}
        self.work = {s.name: Work(s, random.Random(rng.random())) for s in stages}
        self.host_pid = stages[0].daemon.pid
        self.readings = {}       # (who, daemon): [(pid, RSS, fds), …] at each quiet point
        self.differences = []
        self._quiet = threading.Event()

    # Threads that act until it is quiet

    def _repeat(self, act, pause):
        while not self._quiet.wait(pause()):
            try:
                act()
            except Exception as error:  # whatever it is, it is told and judged at the end
                self.differences.append(f'{type(error).__name__}: {error}')

    def _one_fault(self):
        stage = self.rng.choice(self.stages)
        fault = self.rng.choice(FAULTS)
        do_fault(fault, stage, self.stages, self.faulty)
        pid = stage.daemon.pid
        if pid != self.host_pid:
            self.host_pid = pid
            for wire in self.wires.values():
                wire.new_life()

    def busy(self, seconds):
        """Everything at once for SECONDS, then all threads end their last act. Faults are this thread's: a daemon that is
        started again ends with the thread that did it."""
        self._quiet.clear()
        threads = []
        for stage in self.stages:
            threads += [threading.Thread(target=self._repeat, args=(self.calls[stage.name].one, lambda: self.rng.uniform(0.5, 5))),
                        threading.Thread(target=self._repeat, args=(self.work[stage.name].one, lambda: self.rng.uniform(0, 6)))]
        timer = threading.Timer(seconds, self._quiet.set)
        for thread in (*threads, timer):
            thread.start()
        self._repeat(self._one_fault, lambda: self.rng.uniform(3, 15))
        for thread in (*threads, timer):
            thread.join(900)

    # What holds when it is quiet

    def checkpoint(self):
        for stage in self.stages:
            stage.guest.check('vmtidectl resume; vmtidectl set-limits --reset', 60)
            wait_until(lambda s=stage: s.monitor('Mode') == ['"auto"'], 60, f'{stage.name}: the monitor decides')
            size = stage.agree(60, settled=True)
            self._read(stage)
            say(f'soak: {stage.name}: {size >> 20} MiB; {self.wires[stage.name].row()}; {self.calls[stage.name].row()}; '
                f'{self.work[stage.name].row()}')
        self.readings.setdefault(('host', 'host'), []).append(watch.host_numbers(self.stages[0].daemon))
        self._compare_counters()
        say(f'soak: faults: {sum(self.faulty.count.values())}, differences: {len(self.all_differences())}')

    def _read(self, stage):
        for daemon, numbers in watch.guest_numbers(stage.guest).items():
            self.readings.setdefault((stage.name, daemon), []).append(numbers)
        self.readings.setdefault((stage.name, 'processes'), []).append(watch.processes(stage.guest))

    def _compare_counters(self):
        for name, wire in self.wires.items():
            told = watch.counters(self.port, name)
            if told != wire.life and not self._still(name):
                self.differences.append(f'{name}: the host counts {told}, the wire {wire.life}')

    def _still(self, name):
        """The monitor may ask while the counters are read: once more, and the same."""
        wire = self.wires[name]
        try:
            wait_until(lambda: watch.counters(self.port, name) == wire.life, 15, 'the counters are equal', step=1)
            return True
        except RigError:
            return False

    def _leaks(self):
        for (who, what), rows in self.readings.items():
            first, last = rows[0], rows[-1]
            if what == 'processes':
                more = watch.more_processes(first, last)
                if more:
                    yield f'{who}: processes that were not there before: {more}'
                continue
            low = min(rss for _, rss, _ in rows)
            if last[1] > low + watch.RSS_SLACK:
                yield f'{who}: {what} holds {last[1] >> 10} KiB, {low >> 10} KiB before'
            if last[2] > min(fds for _, _, fds in rows) + 2:
                yield f'{who}: {what} has {last[2]} descriptors, {rows[0][2]} at first'

    def all_differences(self):
        found = list(self.differences)
        for part in (self.wires, self.calls, self.work):
            for name, one in part.items():
                found += [f'{name}: {d}' for d in (one.differences() if callable(one.differences) else one.differences)]
        return found

    def balance(self):
        found = self.all_differences() + list(self._leaks())
        for stage in self.stages:
            found += [f'{stage.name}: log: {line}' for line in watch.unexplained(stage.guest)]
            found += [f'{stage.name}: {n} processes killed by the kernel' for n in [stage.guest.oom_kills()] if n]
        found += [f'host: log: {line}' for line in watch.host_unexplained(self.stages[0].daemon.text())]
        return found

    def report(self, found):
        for name, wire in self.wires.items():
            print(f'{name}: {wire.row()}')
            print(f'{name}: {self.calls[name].row()}')
            print(f'{name}: {self.work[name].row()}')
        for (who, what), rows in self.readings.items():
            if what != 'processes':
                print(f'{who}: {what}: {len({r[0] for r in rows})} lives read, RSS {min(r[1] for r in rows) >> 10} to '
                      f'{max(r[1] for r in rows) >> 10} KiB, last {rows[-1][1] >> 10}; descriptors {rows[0][2]}, last {rows[-1][2]}')
        print('faults: ' + ', '.join(f'{n} {what}' for what, n in sorted(self.faulty.count.items())))
        for difference in found:
            print(f'difference: {difference}')
        print(f'{len(found)} differences')


@contextlib.contextmanager
def landlord(options, folder):
    """The stages of all guests, with one host daemon before them."""
    with contextlib.ExitStack() as stack:
        install_build(folder)
        guests = []
        for name in NAMES[:options.guests]:
            logs = build_dir() / 'vm-logs' / f'soak-{name}'
            guests.append(stack.enter_context(
                Guest(options.kernel, destdir=folder, files=helper_files(), logs=logs)))
        for guest in guests:
            guest.wait_booted()
        port = free_port()
        config = guests[0].folder / 'host.conf'
        config.write_text(f'[Metrics]\nListen=127.0.0.1:{port}\n', encoding='ascii')
        config.chmod(0o644)
        others = [Stage(guest, name=name, landlord=False) for guest, name in zip(guests[1:], NAMES[1:])]
        first = Stage(guests[0], name=NAMES[0], others=others, options=[f'--config={config}'])
        stages = [first, *others]
        for stage in stages:
            stack.callback(stage.close)
        yield stages, port


def main():
    parser = argparse.ArgumentParser(prog='scripts/soak', description=__doc__)
    parser.add_argument('minutes', type=float, help='how long it is busy')
    parser.add_argument('--guests', type=int, default=2, choices=range(1, len(NAMES) + 1), help='guests of one host (2)')
    parser.add_argument('--kernel', default='6.12', choices=('6.1', '6.12'))
    parser.add_argument('--seed', type=int, default=None, help='the same acts again, though not at the same moments')
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    say(f'soak: {options.guests} guests, Linux {options.kernel}, {options.minutes:g} minutes, --seed {seed}; logs in '
        f'{build_dir() / "vm-logs"}')
    for name in NAMES:
        for old in Path(build_dir() / 'vm-logs' / f'soak-{name}').glob('*'):
            old.unlink()
    with tempfile.TemporaryDirectory(prefix='vmtide-installed-') as folder, landlord(options, folder) as (stages, port):
        soak = Soak(stages, port, random.Random(seed))
        soak.checkpoint()
        left = options.minutes * 60
        while left > 0:
            soak.busy(min(left, CHECKPOINT_SECONDS))
            left -= CHECKPOINT_SECONDS
            soak.checkpoint()
        found = soak.balance()
        if found:
            for stage in stages:
                stage.guest.save_journal()
        soak.report(found)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
