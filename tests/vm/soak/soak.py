# SPDX-License-Identifier: MIT
"""What goes on at once in all guests, what has to hold when it is quiet, and the balance."""

import random
import threading
import time

from tests.vm.rig import RigError, say, wait_until

from . import explain, leaks, watch
from .acts import Calls, HostCalls, Work
from .books import Books, entry
from .explain import RESETS
from .faults import do_fault, kill_host, pick
from .wire import Wire

# A burst of 3 GiB at 60 MB/s takes a minute.
ACT_SECONDS = 900


class Soak:
    def __init__(self, stages, port, windows, rng):
        self.stages, self.port, self.windows, self.rng = stages, port, windows, rng
        self.host = stages[0].daemon
        self.differences = []
        self.wires = {s.name: Wire(s.channel) for s in stages}
        self.calls = {s.name: Calls(s, windows, random.Random(rng.random())) for s in stages}
        self.calls['host'] = HostCalls(stages, windows, random.Random(rng.random()))
        self.work = {s.name: Work(s, windows, random.Random(rng.random())) for s in stages}
        self.kills = {}         # (guest, unit): how often the soak has killed its daemon
        self.processes = {}
        self.kernel_lines = {s.name: [] for s in stages}
        self.oom_kills = {s.name: 0 for s in stages}
        self.stretch_time = None
        self.books, self.apart = {}, {}
        for stage in stages:
            stage.up, stage.victims = threading.Event(), 0
            stage.up.set()
            stage.before_reset = lambda s=stage: self._end_of_boot(s)
        self.tails = watch.Tails({'host': self.host.log, **{s.name: s.guest.logs / 'journal.log' for s in stages}})
        self.tails.start()
        self.reader = watch.Reader(stages, windows)
        self.reader.start()
        self._quiet = threading.Event()

    # Threads that act until it is quiet

    def _repeat(self, act, pause):
        while not self._quiet.wait(pause()):
            self._careful(act)

    def _careful(self, act, what=''):
        """Whatever it is, it is told and judged at the end."""
        try:
            return act()
        except Exception as error:
            self.differences.append(f'{what}{type(error).__name__}: {error}')
            return None

    def _one_fault(self):
        stage, fault = self.rng.choice(self.stages), pick(self.rng)
        self._host_runs()
        if fault is kill_host:
            self._compare_counters()
        do_fault(fault, stage, self.stages, self.windows)
        if fault is kill_host:
            for wire in self.wires.values():
                wire.new_life()
        elif fault.__name__.startswith('kill_'):
            unit = (stage.name, fault.__name__.removeprefix('kill_'))
            self.kills[unit] = self.kills.get(unit, 0) + 1

    def _between_faults(self):
        """A quiet stretch at times: a caller that is told of a fault then has none to be told of."""
        return self.rng.uniform(20, 35) if self.rng.random() < 0.3 else self.rng.uniform(3, 12)

    def _act(self, seconds, faults):
        self._quiet.clear()
        acts = [(self.calls['host'].one, (2, 10))]
        for stage in self.stages:
            acts += [(self.calls[stage.name].one, (0.5, 5)), (self.work[stage.name].one, (0, 6))]
        threads = [threading.Thread(target=self._repeat, args=(act, lambda p=pause: self.rng.uniform(*p)),
                                    name=act.__qualname__, daemon=True) for act, pause in acts]
        timer = threading.Timer(seconds, self._quiet.set)
        for thread in (*threads, timer):
            thread.start()
        if faults:
            self._repeat(self._one_fault, self._between_faults)
        timer.join()
        until = time.monotonic() + ACT_SECONDS
        for thread in threads:
            thread.join(max(1, until - time.monotonic()))
            if thread.is_alive():
                self.differences.append(f'{thread.name} did not end in {ACT_SECONDS} s')

    def busy(self, seconds):
        """Everything at once for SECONDS, then all threads end their last act. Faults are this thread's: a daemon that is
        started again ends with the thread that did it."""
        self._act(seconds, faults=True)

    def stretch(self, seconds):
        """Work and calls, and nothing is broken: what grows now is a leak."""
        self.reader.every = watch.READ_SECONDS_STRETCH
        begun = time.monotonic()
        self._act(seconds, faults=False)
        self.stretch_time = (begun, time.monotonic())
        self.reader.every = watch.READ_SECONDS

    # What holds when it is quiet

    def _host_runs(self):
        if self.host.running():
            return
        self.differences.append('the host\'s daemon has ended by itself; it is started again')
        opened = self.windows.begin([s.name for s in self.stages], 'kill_host')
        self.host.restart()
        for wire in self.wires.values():
            wire.new_life()
        self.windows.end(opened)

    def checkpoint(self):
        self._host_runs()
        for stage in self.stages:
            self._careful(lambda s=stage: self._settle(s), f'{stage.name}: ')
        self._careful(lambda: self.reader.read(idle='idle'))
        self._compare_counters()
        for stage in self.stages:
            rows = (part[stage.name].row() for part in (self.wires, self.calls, self.work))
            say(f'soak: {stage.name}: {"; ".join(rows)}')
        say(f'soak: host: {self.calls["host"].row()}; faults: {self._faults()}, differences so far: {len(self.all_differences())}')

    def _faults(self):
        return sum(count for kind, count in self.windows.count.items() if kind not in ('boot', 'host_pause'))

    def _idle(self):
        """What was not done proves nothing."""
        if self._faults() == 0:
            yield 'not one fault was done'
        yield from (f'{name}: nothing was asked of the host' for name, wire in self.wires.items() if not wire.answers)

    def _settle(self, stage):
        for verb in ('resume', 'set-limits --reset', 'set-weight 0'):
            self.calls['host'].call(' '.join([*verb.split()[:1], stage.name, *verb.split()[1:]]), stage.name)
        stage.guest.check('vmtidectl resume; vmtidectl set-limits --reset', 60)
        wait_until(lambda: stage.monitor('Mode') == ['"auto"'], 60, 'the monitor decides')
        stage.agree(60, settled=True)
        self.processes.setdefault(stage.name, []).append(watch.processes(stage.guest))

    def _compare_counters(self):
        """Relay against the host's metrics; a guest may ask in between."""
        for name, wire in self.wires.items():
            try:
                wait_until(lambda n=name, w=wire: not w.host_differs(watch.counters(self.port, n)), 15,
                           'they are equal', step=0.5)
            except (RigError, OSError) as error:
                told = self._careful(lambda n=name: watch.counters(self.port, n))
                self.differences.append(f'{name}: the host counts {told}, the wire {dict(wire.life)} ({error})')

    def _end_of_boot(self, stage):
        """What a boot of a guest leaves behind, before it is over."""
        stage.guest.run('journalctl --sync', 60)
        self.kernel_lines[stage.name] += watch.kernel_lines(stage.guest)
        self.oom_kills[stage.name] += stage.guest.oom_kills()

    # The balance

    def all_differences(self):
        found = list(self.differences)
        for name, wire in self.wires.items():
            found += [f'{name}: {d}' for d in wire.differences(self.windows, name)]
        for part in (self.calls, self.work):
            for name, one in part.items():
                found += [f'{name}: {d}' for d in one.all_differences()]
        return found + self.reader.differences

    def _books(self, name):
        rows = [(when, parts[1], parts[2]) for when, line in self.tails.of[name].lines
                if (parts := explain.of_journal(line)) and parts[0] == 'vmtide-actuator']
        entries = [one for row in rows if (one := entry(*row))]
        ended = self.kills.get((name, 'actuator'), 0) + self._resets(name)
        return Books(entries, self.wires[name].answers, self.wires[name].cuts, ended)

    def _resets(self, name):
        return sum(self.windows.times(name, kind) for kind in RESETS)

    def _leaks(self):
        yield from leaks.judge_lives(self.reader.readings)
        if self.stretch_time:
            yield from leaks.judge_stretch(self.reader.readings, *self.stretch_time)
        for name, rows in self.processes.items():
            more = watch.more_processes(rows[0], rows[-1])
            if more:
                yield f'{name}: processes that were not there before: {more}'

    def _logs(self):
        """[differences], {what is explained at any time: count}"""
        bad, apart = explain.judge_host(self.tails.of['host'].lines, self.windows, [s.name for s in self.stages])
        for stage in self.stages:
            more, other = explain.judge_guest(self.tails.of[stage.name].lines, self.windows, stage.name)
            bad += [f'{stage.name}: {line}' for line in more]
            for reason, count in other.items():
                apart[reason] = apart.get(reason, 0) + count
            bad += self._killed(stage)
        return bad, apart

    def _killed(self, stage):
        name = stage.name
        seen = explain.kills(self.tails.of[name].lines)
        for unit in ('monitor', 'actuator'):
            by_soak = self.kills.get((name, unit), 0)
            if seen.get(unit, 0) != by_soak:
                yield f'{name}: systemd has seen the {unit} killed {seen.get(unit, 0)} times, the soak did it {by_soak} times'
        yield from (f'{name}: {line}' for line in explain.kernel(self.kernel_lines[name], stage.victims))
        if self.oom_kills[name] != stage.victims:
            yield f'{name}: {self.oom_kills[name]} processes killed by the kernel, {stage.victims} were meant'

    def _still(self, stage):
        """Nobody asks for anything any more, and what was said of it has come."""
        stage.guest.check('vmtidectl pause --why balance', 60)
        stage.agree(60, settled=True)
        self._end_of_boot(stage)

    def balance(self):
        self._careful(self.reader.stop)
        for stage in self.stages:
            self._careful(lambda s=stage: self._still(s), f'{stage.name}: ')
        self.tails.stop()
        self.books = {name: self._books(name) for name in self.wires}
        bad, self.apart = self._logs()
        found = self.all_differences() + bad
        for name in self.wires:
            found += [f'{name}: {d}' for d in self.books[name].differences(self.windows, name)]
            found += [f'{name}: request {one.id} waits for ever' for one in self.wires[name].waiting()]
        return found + list(self._leaks()) + list(self._idle())

    def report(self, found):
        for name, wire in self.wires.items():
            print(f'{name}: {wire.row()}')
            print(f'{name}: {self.books[name].row()}')
            print(f'{name}: {self.work[name].row()}')
        for name, calls in self.calls.items():
            print(f'{name}: {calls.row()}')
        found_lives = leaks.lives(self.reader.readings)
        for daemon in sorted({daemon for daemon, _ in found_lives}):
            rows = [r for r in self.reader.readings if r.daemon == daemon]
            low, high = min(r.rss for r in rows), max(r.rss for r in rows)
            print(f'{daemon}: {sum(d == daemon for d, _ in found_lives)} lives, {len(rows)} readings, RSS {low >> 10} to '
                  f'{high >> 10} KiB, last {rows[-1].rss >> 10}; descriptors when idle {sorted({r.fds for r in rows if r.idle})}')
        print('faults: ' + ', '.join(f'{n} {what}' for what, n in sorted(self.windows.count.items())))
        for reason, count in sorted(self.apart.items()):
            print(f'explained at any time: {count} lines: {reason}')
        for difference in found:
            print(f'difference: {difference}')
        print(f'{len(found)} differences')
