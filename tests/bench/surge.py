# SPDX-License-Identifier: MIT
"""scripts/bench surge: bursts at full speed, and who survives them.

Each burst is run for each arm, with a host that answers at once and with one that answers a second late. Times are of
the guest's clock. The time base is a fixed guest: once with memory that QEMU has never touched, as plugged memory is,
and once with memory that it has."""

import json
import sys
import time
from pathlib import Path

from tests.vm.rig.paths import RigError
from tests.vm.rig.qemu import GIB, parse_size

from . import lab, surge_arms, surge_cases
from .surge_cases import CASES, Outcome

QUICK = {'cases': ['anon', 'fork'], 'threads': [4], 'bytes': '3G'}


def arguments():
    parser = lab.parser('surge', __doc__)
    parser.add_argument('--cases', type=lambda text: text.split(','), default=list(CASES),
                        help=f'some of {",".join(CASES)} (default: all)')
    parser.add_argument('--arms', type=lambda text: text.split(','), default=list(surge_arms.ARMS),
                        help=f'some of {",".join(surge_arms.ARMS)} (default: all)')
    parser.add_argument('--threads', type=lambda text: [int(n) for n in text.split(',')], default=[1, 2, 4],
                        help='how many touch memory at once (default 1,2,4)')
    parser.add_argument('--bytes', default='6G', help='size of a burst (default %(default)s)')
    parser.add_argument('--late', type=lambda text: [float(n) for n in text.split(',')], default=[0.0, 1.0],
                        help='how many seconds late the host is (default 0,1)')
    parser.add_argument('--quick', action='store_true', help=f'a few minutes: {QUICK}')
    parser.add_argument('--out', help='a JSON file for the results; those that it has are kept and shown again')
    options = parser.parse_args()
    if options.quick:
        for name, value in QUICK.items():
            if getattr(options, name) == parser.get_default(name):
                setattr(options, name, value)
    for kind, known in (('cases', CASES), ('arms', surge_arms.ARMS)):
        for name in getattr(options, kind):
            if name not in known:
                parser.error(f'{name} is none of the {kind}: {", ".join(known)}')
    options.bytes = parse_size(options.bytes)
    return options


class Results:
    """What came out, by kernel, case, threads, lateness and arm; in a file as well when one was asked for."""

    def __init__(self, path):
        self._path = Path(path) if path else None
        self.rows = {}
        if self._path and self._path.exists():
            for key, values in json.loads(self._path.read_text(encoding='utf-8')):
                self.rows[tuple(key)] = Outcome(*values)

    def put(self, key, outcome):
        self.rows[key] = outcome
        if self._path:
            self._path.write_text(json.dumps(list(self.rows.items()), indent=1), encoding='utf-8')

    def base(self, key, arm):
        """The time in a fixed guest, or None."""
        found = self.rows.get((*key[:3], 0.0, arm))
        return found.seconds if found else None


def number(value, form='6.2f'):
    return '-' if value is None else format(value, form).strip()


def show_row(results, key):
    _kernel, case, threads, late, arm = key
    o = results.rows[key]
    ratios = [o.seconds / base if o.seconds and (base := results.base(key, name)) else None
              for name in surge_arms.FIXED]
    outcome = o.outcome if o.kills == 0 else f'{o.outcome} ({o.kills})'
    print(f'{case:7} {threads:7} {late:6.0f} {arm:9} {outcome:12} {number(o.seconds):>8} {number(ratios[0]):>8} '
          f'{number(ratios[1]):>8} {number(o.stall):>8} {number(o.peak):>8} {number(o.psi):>7}', flush=True)


def show_head(kernel):
    print(f'\nLinux {kernel}\n{"case":7} {"threads":>7} {"late s":>6} {"arm":9} {"outcome":12} {"time s":>8} '
          f'{"x fixed":>8} {"x warm":>8} {"stall s":>8} {"size GiB":>8} {"PSI s":>7}', flush=True)


def run_one(stage, results, key, options):
    """One burst. A guest in which something was killed is no longer what it was: the next case gets a new one."""
    _kernel, name, threads, late, arm = key
    case = CASES[name]
    began = time.monotonic()
    try:
        if arm in surge_arms.FIXED:
            stage.discard()
        guest = stage.ready(late, case.before)
        if arm == 'warm':
            surge_cases.run(guest, case, options.bytes, threads)
            guest = stage.ready(late, case.before)
        outcome = surge_cases.run(guest, case, options.bytes, threads)
    except RigError as problem:
        print(f'{" ".join(map(str, key))}: {problem}', file=sys.stderr)
        outcome = Outcome('hung', 0, None, None, None, None)
    results.put(key, outcome)
    show_row(results, key)
    print(f'  ({time.monotonic() - began:.0f} s in all)', file=sys.stderr)
    if outcome.outcome != 'ok':
        stage.discard()


def plan(options):
    """(arm, [(case, threads, late)…]): all bursts of an arm follow each other, in one guest."""
    for arm in options.arms:
        bursts = [(name, threads, late) for name in options.cases
                  for threads in (options.threads if CASES[name].threaded else [1])
                  for late in ([0.0] if arm in surge_arms.FIXED else options.late)]
        yield arm, bursts


def show_all(results, kernel, options):
    """Once more, each burst's arms together."""
    show_head(kernel)
    last = None
    arms = list(surge_arms.ARMS)
    order = list(CASES)
    for key in sorted((k for k in results.rows if k[0] == kernel),
                      key=lambda k: (order.index(k[1]), k[2], arms.index(k[4]) >= 2 and k[3], arms.index(k[4]))):
        if last is not None and key[1:3] != last:
            print()
        last = key[1:3]
        show_row(results, key)
    print('\narms:')
    for name, text in surge_arms.ARMS.items():
        print(f'  {name:9} {text}')
    print('cases:')
    for name in options.cases:
        print(f'  {name:9} {CASES[name].text}')
    print(f'a burst is {options.bytes / GIB:.1f} GiB where its text says nothing else; stall: the longest that 64 KiB '
          f'took; size: the largest plugged; asked of vmtide: nothing killed, at most 2.5 x fixed')


def main():
    options = arguments()
    results = Results(options.out)
    with lab.installed() as destdir:
        if not surge_arms.has_guard(destdir):
            print('this build has no guard: the arm vmtide is vmtide without it', file=sys.stderr)
        show_head(options.kernel)
        for arm, bursts in plan(options):
            with surge_arms.Stage(arm, options.kernel, destdir) as stage:
                for burst in bursts:
                    run_one(stage, results, (options.kernel, *burst, arm), options)
    show_all(results, options.kernel, options)
    return 0


lab.run(main)
