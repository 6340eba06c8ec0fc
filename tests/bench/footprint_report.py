# SPDX-License-Identifier: MIT
"""What scripts/bench footprint shows: a table of the arms, and a plot of what QEMU held."""

import subprocess
import tempfile
from pathlib import Path

from tests.vm.rig.paths import find_tool
from tests.vm.rig.qemu import GIB

from .footprint_arms import ARMS
from .footprint_run import footprint

COLORS = {'fixed': '#7f7f7f', 'reporting': '#548235', 'rule': '#1f4e79', 'vmtide': '#c55a11', 'both': '#7030a0'}


def _ratio(value, base):
    return f'{value / base:.2f}' if base else '-'


def table(runs):
    """runs: a dict of arm to Run."""
    held = {arm: footprint(run.samples) for arm, run in runs.items()}
    fixed, reporting = held.get('fixed'), held.get('reporting')
    print(f'\n{"arm":10} {"GiB·min":>8} {"x fixed":>8} {"x report":>8} {"mean GiB":>9} {"work s":>8} {"guest CPU":>9} '
          f'{"QEMU CPU":>9} {"PSI some":>9} {"PSI full":>9} {"kills":>6} {"refaults":>9} {"swapped":>8} {"resizes":>8}')
    for arm, run in runs.items():
        mean = held[arm] * 60 / run.samples[-1][0]
        print(f'{arm:10} {held[arm]:8.2f} {_ratio(held[arm], fixed):>8} {_ratio(held[arm], reporting):>8} {mean:9.2f} '
              f'{run.seconds:8.1f} {run.cpu:9.1f} {run.qemu_cpu:9.1f} {run.psi_some:9.2f} {run.psi_full:9.2f} '
              f'{run.kills:6} {run.refaults:9} {run.swapped:8} {run.resizes:8}')
    names = [phase[0] for phase in next(iter(runs.values())).phases]
    print(f'\n{"seconds of":10} ' + ' '.join(f'{name:>10}' for name in names))
    for arm, run in runs.items():
        work = {phase[0]: phase[3] for phase in run.phases}
        print(f'{arm:10} ' + ' '.join(f'{work.get(name, 0.0):10.2f}' for name in names))
    print('\narms:')
    for arm in runs:
        print(f'  {arm:10} {ARMS[arm]}')
    print("GiB·min: the integral of QEMU's RSS over the whole run; work: all phases without what memory is held for and "
          'without gaps;\nasked of vmtide: at most 0.60 x fixed and 0.75 x free page reporting, no kill, no swap')


def _phase_marks(run, top):
    """Grey bands for the phases of one arm, with their names."""
    lines = []
    for number, (name, begin, end, _work) in enumerate(run.phases, 1):
        if end - begin < 1:
            continue
        lines.append(f'set object {number} rect from {begin},0 to {end},{top} fc rgb "#f0f0f0" fs noborder behind')
        lines.append(f'set label {number} "{name}" at {(begin + end) / 2},{top * 0.97} center font ",9"')
    return '\n'.join(lines)


def plot(runs, target, kernel):
    top = max(sample[1] for run in runs.values() for sample in run.samples) / GIB * 1.1
    with tempfile.TemporaryDirectory(prefix='vmt-') as folder:
        curves = []
        for arm, run in runs.items():
            data = Path(folder, arm)
            data.write_text(''.join(f'{sample[0]} {sample[1] / GIB}\n' for sample in run.samples), encoding='ascii')
            curves.append(f'"{data}" with lines lw 2 lc "{COLORS[arm]}" '
                          f'title "{arm} ({footprint(run.samples):.1f} GiB·min)"')
        script = f'''set terminal svg size 1000,480 background "white" font "sans,13"
set output "{Path(target).resolve()}"
set title "What the host pays for the same work (Linux {kernel})"
set xlabel "seconds"; set ylabel "QEMU RSS, GiB"; set yrange [0:{top}]; set key outside below; set grid ytics lc "#dddddd"
{_phase_marks(list(runs.values())[-1], top)}
plot {', '.join(curves)}
'''
        subprocess.run([find_tool('gnuplot')], input=script, text=True, check=True)
