# SPDX-License-Identifier: MIT
"""What scripts/bench surge found: its file of JSON lines, its table and its summary."""

import json
from collections import Counter, namedtuple
from pathlib import Path

from . import lab
from .surge_cells import Cell
from .surge_kinds import Outcome

# Which runs may be compared: those of the same burst, equally fast beside the daemons.
Setting = namedtuple('Setting', 'bytes fast')
NOT_COVERED = 'root'  # the root cgroup has no memory.high


class Results:
    """Every run so far; appended to a file at once when one was given."""

    def __init__(self, setting, path=None):
        self._setting = setting
        self._path = Path(path) if path else None
        self._runs = {}
        if self._path and self._path.exists():
            self._load()

    def _load(self):
        """What an interruption cut off in the middle of a line is left out, and removed."""
        text = self._path.read_text(encoding='utf-8')
        whole = text[:text.rfind('\n') + 1]
        if whole != text:
            self._path.write_text(whole, encoding='utf-8')
        for line in whole.splitlines():
            self._take(json.loads(line))

    def _take(self, row):
        if Setting(row['bytes'], row['fast']) == self._setting:
            cell = Cell(**{name: row[name] for name in Cell._fields})
            self._runs.setdefault(cell, []).append(Outcome(**{name: row[name] for name in Outcome._fields}))

    def put(self, cell, outcome):
        row = {**self._setting._asdict(), **cell._asdict(), **outcome._asdict()}
        self._take(row)
        if self._path:
            with self._path.open('a', encoding='utf-8') as file:
                file.write(json.dumps(row) + '\n')

    def runs(self, cell):
        return self._runs.get(cell, [])

    def base(self, cell):
        """Seconds of the same burst in a fixed guest, or None."""
        done = [o.seconds for o in self.runs(fixed(cell)) if o.seconds]
        return done[0] if done else None

    def ratios(self, cell):
        """The times of a cell's runs beside the fixed guest's."""
        base = self.base(cell)
        return [o.seconds / base for o in self.runs(cell) if o.seconds] if base else []


def fixed(cell):
    """The cell of the fixed guest that a cell is compared with."""
    return Cell(cell.kernel, cell.kind, 'fixed', '', '')


def number(value, form='.2f'):
    return '-' if value is None else format(value, form)


def greatest(values):
    return max((value for value in values if value is not None), default=None)


def describe(outcome, base):
    """One run in words, for the progress."""
    if outcome.outcome != 'ok':
        return f'{outcome.outcome} ({outcome.kills} kills) {outcome.note}'.rstrip()
    ratio = f', {outcome.seconds / base:.2f} x fixed' if base else ''
    return f'ok, {outcome.seconds:.1f} s{ratio}, stall {number(outcome.stall)} s, hold {number(outcome.hold)} s'


def _row(results, index, cell):
    runs = results.runs(cell)
    counts = Counter(o.outcome for o in runs)
    others = ' '.join(f'{counts[name]} {name}' for name in ('failed', 'hung') if counts[name])
    times = [o.seconds for o in runs if o.seconds]
    killed = f'{counts["killed"]}/{len(runs)}'
    return (f'{index:4} {cell.kernel:6} {cell.kind:9} {cell.place:8} {cell.state:7} {cell.host:4} {killed:>6} '
            f'{number(lab.median(times) if times else None):>7} {number(results.base(cell)):>7} '
            f'{number(greatest(results.ratios(cell))):>7} {number(greatest(o.stall for o in runs)):>7} '
            f'{number(greatest(o.hold for o in runs)):>7} {number(greatest(o.peak for o in runs)):>5} '
            f'{others}').rstrip()


def show_table(results, cells):
    """A row for each cell that was run: time is the median, ratio, stall, hold and size are the largest."""
    print(f'{"cell":>4} {"kernel":6} {"kind":9} {"place":8} {"state":7} {"host":4} {"killed":>6} {"time s":>7} '
          f'{"fixed s":>7} {"x fixed":>7} {"stall s":>7} {"hold s":>7} {"GiB":>5}')
    for index, cell in cells:
        if results.runs(cell):
            print(_row(results, index, cell))


def _worst(results, cells, host, values):
    """The largest of a cell's VALUES among those with that host: a number and the cell's number, in words."""
    found = [(value, index) for index, cell in cells if cell.host == host for value in values(cell)
             if value is not None]
    return '{:.2f} (cell {})'.format(*max(found)) if found else '-'


def summary(results, cells):
    """Lines in words, and how many runs were not ok outside of the root cgroup."""
    done = [(index, cell) for index, cell in cells if results.runs(cell)]
    outcomes = {inside: Counter(o.outcome for _, cell in done for o in results.runs(cell)
                                if (cell.place == NOT_COVERED) == inside) for inside in (False, True)}
    total = sum(outcomes[False].values()) + sum(outcomes[True].values())
    bad = sum(outcomes[False].values()) - outcomes[False]['ok']
    lines = [f'{len(done)} cells of {len(cells)}, {total} runs, {outcomes[False]["killed"]} killed, '
             f'{outcomes[False]["failed"] + outcomes[False]["hung"]} failed or hung; in the root cgroup '
             f'{outcomes[True]["killed"]} killed of {sum(outcomes[True].values())}']
    for host, text in (('now', 'host at once'), ('late', 'host late')):
        stalls = _worst(results, done, host, lambda cell: [o.stall for o in results.runs(cell)])
        holds = _worst(results, done, host, lambda cell: [o.hold for o in results.runs(cell)])
        lines.append(f'{text}: worst ratio {_worst(results, done, host, results.ratios)}, '
                     f'worst stall {stalls} s, longest hold {holds} s')
    return '\n'.join(lines), bad
