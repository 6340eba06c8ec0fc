# SPDX-License-Identifier: MIT
"""scripts/bench surge: bursts of every kind, in every place, and who survives them.

A cell is a combination of guest kernel, kind of memory, cgroup, state of the guest and promptness of the host. By
default a set of cells is run in which each pair of values meets. Times are of the guest's clock; beside them stands
the time of a fixed guest whose memory QEMU has never touched, as plugged memory is. The status is 1 when anything but
a burst in the root cgroup, which no guard can hold, was killed, failed or hung."""

import argparse
import sys
import time

from tests.vm.rig.paths import RigError
from tests.vm.rig.qemu import GIB, parse_size

from . import lab, surge_cells, surge_kinds, surge_report, surge_stage
from .surge_cells import FACTORS

FACTOR_TEXTS = {
    'place': {'user': 'login session', 'service': 'system service', 'kubepods': 'kubepods.slice made for the burst',
              'docker': 'a container by cgroupfs, unknown to systemd', 'two': 'half in user, half in service',
              'root': 'root cgroup'},
    'state': {'fresh': 'the cache holds the system\'s files, as after boot',
              'touched': 'boot memory was touched before, and the cache is gone',
              'held': f'{surge_stage.HELD // GIB} GiB are held already by another'},
    'host': {'now': 'answers at once', 'late': f'answers {surge_stage.LATE_SECONDS:.0f} s late'},
}


def _parser():
    parser = argparse.ArgumentParser(prog='scripts/bench surge', description=__doc__)
    parser.add_argument('--full', action='store_true', help='every combination instead of the covering set')
    parser.add_argument('--runs', type=int, default=1, help='runs of each cell (default %(default)s)')
    parser.add_argument('--resume', metavar='FILE', help='results as JSON lines: each run is appended at once, and '
                        'those that it has are not run again')
    parser.add_argument('--cells', metavar='I-J', help='only cells with these numbers, like 1-7,12,60-')
    parser.add_argument('--only', metavar='FACTOR=VALUE,…', action='append', default=[],
                        help=f'only cells with these values; factors are {", ".join(surge_cells.Cell._fields)}')
    parser.add_argument('--list', action='store_true', help='print the cells and run nothing')
    parser.add_argument('--minutes', type=float, help='begin no run after this time')
    parser.add_argument('--fast', type=int, default=1, metavar='N', help='a burst N times faster beside the daemons: '
                        'vmtide.slice gets 1/N of a processor, and boot memory is 512 MiB')
    parser.add_argument('--bytes', default='3G', help='size of a burst (default %(default)s)')
    parser.add_argument('--no-base', action='store_true', help='do without the times of the fixed guest')
    return parser


def arguments():
    parser = _parser()
    options = parser.parse_args()
    cells = surge_cells.full() if options.full else surge_cells.covering()
    try:
        numbers = surge_cells.parse_range(options.cells, len(cells)) if options.cells else None
        filters = [surge_cells.parse_filter(text) for text in options.only]
    except ValueError as problem:
        parser.error(str(problem))
    options.cells = surge_cells.select(cells, numbers, filters)
    if not options.cells:
        parser.error('no cell is left')
    if options.fast < 1 or options.runs < 1:
        parser.error('--fast and --runs take numbers from 1')
    options.bytes = parse_size(options.bytes)
    return options


def show_legend():
    print('\nkinds:')
    for name, kind in surge_kinds.KINDS.items():
        print(f'  {name:9} {kind.text}')
    for factor, texts in FACTOR_TEXTS.items():
        print(f'{factor}s:')
        for name, text in texts.items():
            print(f'  {name:9} {text}')


class Progress:
    """Says on stderr what was done and how long the rest takes, and when the time is over."""

    def __init__(self, total, minutes):
        self._total = total
        self._done = 0
        self._begun = time.monotonic()
        self._deadline = self._begun + minutes * 60 if minutes else None

    def over(self):
        return self._deadline is not None and time.monotonic() >= self._deadline

    def say(self, cell, text):
        self._done += 1
        left = (self._total - self._done) * (time.monotonic() - self._begun) / self._done
        print(f'[{self._done}/{self._total}] {" ".join(filter(None, cell))}: {text}; about {left / 60:.0f} min left',
              file=sys.stderr, flush=True)


def plan(options, results):
    """[(cell, is it a fixed guest's)…] of the runs that are missing: one run of each cell first, then the next, so
    that what an interruption leaves is even."""
    work = []
    for kernel in FACTORS.kernel:
        cells = [cell for _, cell in options.cells if cell.kernel == kernel]
        bases = dict.fromkeys(surge_report.fixed(cell) for cell in cells)
        if not options.no_base:
            work += [(base, True) for base in bases if not results.base(base)]
    for turn in range(options.runs):
        work += [(cell, False) for _, cell in options.cells if len(results.runs(cell)) <= turn]
    return work


def run_base(cell, options):
    try:
        return surge_stage.run_fixed(cell.kernel, cell.kind, options.bytes, options.fast)
    except RigError as problem:
        return surge_kinds.Outcome('failed', 0, None, None, None, None, ' '.join(str(problem).split())[-120:])


def run_all(options, results, destdir):
    work = plan(options, results)
    progress = Progress(len(work), options.minutes)
    stage, kernel = None, None
    try:
        for cell, is_base in work:
            if progress.over():
                print(f'{options.minutes:.0f} minutes are over', file=sys.stderr)
                return
            if stage is not None and (is_base or cell.kernel != kernel):
                stage.discard()
                stage = None
            if is_base:
                outcome = run_base(cell, options)
            else:
                stage = stage or surge_stage.Stage(cell.kernel, options.fast, destdir)
                kernel = cell.kernel
                outcome = stage.run(cell, options.bytes)
            results.put(cell, outcome)
            progress.say(cell, surge_report.describe(outcome, results.base(cell)))
    finally:
        if stage is not None:
            stage.discard()


def show(options, results):
    fast = f', {options.fast} times faster beside the daemons' if options.fast > 1 else ''
    print(f'bursts of {options.bytes / GIB:.1f} GiB, boot memory {surge_stage.boot_size(options.fast)}{fast}\n')
    surge_report.show_table(results, options.cells)
    show_legend()
    text, bad = surge_report.summary(results, options.cells)
    print(f'\n{text}')
    return 1 if bad else 0


def main():
    options = arguments()
    if options.list:
        for number, cell in options.cells:
            print(f'{number:4} {cell.kernel:6} {cell.kind:9} {cell.place:8} {cell.state:7} {cell.host}')
        return 0
    results = surge_report.Results(surge_report.Setting(options.bytes, options.fast), options.resume)
    try:
        with lab.installed() as destdir:
            run_all(options, results, destdir)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        show(options, results)
        return 130
    return show(options, results)


if __name__ == '__main__':
    lab.run(main)
