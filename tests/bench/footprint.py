# SPDX-License-Identifier: MIT
"""scripts/bench footprint: the memory that QEMU holds for the same work in four guests: of fixed size, with free page
reporting, resized by a rule on the host, and with vmtide. With --pairs: what vmtide costs in time and CPU, by
interleaved runs of a shorter workload against a guest of fixed size, warm and cold."""

import json
import sys
from pathlib import Path

from . import footprint_arms, footprint_pairs, footprint_report, footprint_run, lab, workload
from .footprint_run import Run


def arguments():
    parser = lab.parser('footprint', __doc__)
    parser.add_argument('--arms', type=lambda text: text.split(','), default=footprint_arms.DEFAULT,
                        help=f'some of {",".join(footprint_arms.ARMS)} (default {",".join(footprint_arms.DEFAULT)})')
    parser.add_argument('--gap', type=int, help=f'seconds of idle gaps (default {workload.FULL.gap})')
    parser.add_argument('--quick', action='store_true', help='a small workload: a look, no result')
    parser.add_argument('--pairs', type=int, metavar='N', help='N interleaved rounds of a shorter workload instead')
    parser.add_argument('--plot', default='footprint.svg', help='where the plot goes (default %(default)s)')
    parser.add_argument('--out', help='a JSON file for the results; arms that are not run now are taken from it')
    options = parser.parse_args()
    for arm in options.arms:
        if arm not in footprint_arms.ARMS:
            parser.error(f'{arm} is none of the arms: {", ".join(footprint_arms.ARMS)}')
    return options


def load(path):
    if not path or not Path(path).exists():
        return {}
    return {arm: Run(**fields) for arm, fields in json.loads(Path(path).read_text(encoding='utf-8')).items()}


def save(path, runs):
    if path:
        fields = {arm: run._asdict() for arm, run in runs.items()}
        Path(path).write_text(json.dumps(fields), encoding='utf-8')


def run_arms(options, destdir):
    plan = workload.QUICK if options.quick else workload.FULL
    if options.gap is not None:
        plan = plan._replace(gap=options.gap, rest=options.gap)
    runs = load(options.out)
    for arm in options.arms:
        with footprint_arms.started(arm, options.kernel, destdir) as (guest, who):
            workload.install(guest)
            print(f'{arm}: the workload …', file=sys.stderr)
            runs[arm] = footprint_run.run(guest, who, plan)
            print(f'{arm}: {footprint_run.footprint(runs[arm].samples):.2f} GiB·min in '
                  f'{runs[arm].samples[-1][0]:.0f} s', file=sys.stderr)
        save(options.out, runs)
    runs = {arm: runs[arm] for arm in footprint_arms.ARMS if arm in runs}
    footprint_report.table(runs)
    footprint_report.plot(runs, options.plot, options.kernel)
    print(f'plot: {options.plot}')


def main():
    options = arguments()
    if options.pairs is not None and options.pairs < 1:
        raise lab.RigError('--pairs: at least 1')
    with lab.installed() as destdir:
        if options.pairs:
            plan = workload.QUICK if options.quick else workload.PAIR
            footprint_pairs.run(options.kernel, destdir, options.pairs, plan)
        else:
            run_arms(options, destdir)
    return 0


lab.run(main)
